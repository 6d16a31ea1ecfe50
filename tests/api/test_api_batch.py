"""Many jobs in one request: all or none, in an order of their own, counted as one."""

from typing import Any

import pytest
from sqlalchemy import event, func, select

from services.core import attempts
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Job, JobDependency
from services.core.tables.base import now
from tests.api.calls import pointers, preprocess, problem, take, uploaded
from tests.api.serving import Served
from tests.api.test_api_shell import Serve
from tests.core.databases import engines


@pytest.fixture
def raw(served: Served) -> str:
    return uploaded(served.operator, {"a.png": b"pixels"})


def one(raw: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "preprocess", "spec": {"dataset": raw, "recipe": {"name": "image_folder"}}} | fields


def count(served: Served) -> int:
    with served.database.reading() as session:
        return session.scalars(select(func.count()).select_from(Job)).one()


@engines
def test_jobs_of_a_batch_wait_for_each_other(served: Served, raw: str) -> None:
    outside = preprocess(served.operator, raw).json()["id"]
    body = {"jobs": [
        one(raw, name="last", depends_on=["b", outside], tags=["nightly"]), one(raw, ref="a", name="first"),
        one(raw, ref="b", name="second", depends_on=["a"], priority=5), one(raw, name="alone"),
    ]}  # fmt: skip
    answer = served.operator.post("/v1/jobs:batch", json=body)
    assert answer.status_code == 201, answer.text
    last, first, second, alone = answer.json()["jobs"]
    assert answer.json()["errors"] == []
    assert [j["state"] for j in (last, first, second, alone)] == ["waiting", "queued", "waiting", "queued"]
    assert last["depends_on"] == sorted([second["id"], outside])
    assert (second["depends_on"], last["tags"]) == ([first["id"]], ["nightly"])
    for job_id in (outside, first["id"]):
        claim = take(served.database, job_id)
        with served.database.session() as session:
            attempts.succeed(session, job_id, claim.fence, {})
    with served.database.session() as session:
        sweep(session, now())
        claim = attempts.claim_next(session, "worker", 30)
    assert claim is not None
    assert claim.job_id == second["id"], "its priority is the highest"
    found = served.viewer.get("/v1/jobs", params={"tag": "nightly", "fields": "id"}).json()["items"]
    assert found == [{"id": last["id"]}]


def test_every_wrong_field_is_named_and_nothing_is_made(served: Served, raw: str) -> None:
    body = {"jobs": [
        one(raw, ref="good"),
        one(raw, kind="prepare"),
        one("ds_00000000000000000000", depends_on=["good", "job_00000000000000000000"]),
        one(raw, depends_on=["nobody"]),
        one(raw, spec={"dataset": raw, "recipe": {"name": "image_folder", "size": [0, 64]}, "colour": 1}),
        one(raw, ref="x", depends_on=["y"]), one(raw, ref="y", depends_on=["x"]),
    ]}  # fmt: skip
    document = problem(served.operator.post("/v1/jobs:batch", json=body), 422)
    assert sorted(pointers(document)) == [
        "/jobs/1/kind", "/jobs/2/depends_on/1", "/jobs/2/spec/dataset", "/jobs/3/depends_on/0", "/jobs/4/spec/colour",
        "/jobs/4/spec/recipe/size/0", "/jobs/5/depends_on", "/jobs/6/depends_on",
    ]  # fmt: skip
    assert count(served) == 0
    for jobs, place in (
        ([one(raw, ref="a"), one(raw, ref="a")], ""),
        ([one(raw, ref="job_x1234567")], "/jobs/0/ref"),
        ([one(raw, project="default")], "/jobs/0/project"),
        ([one(raw, priority=500)], "/jobs/0/priority"),
        ([], "/jobs"),
    ):
        assert pointers(problem(served.operator.post("/v1/jobs:batch", json={"jobs": jobs}), 422)) == [place]
    problem(served.viewer.post("/v1/jobs:batch", json={"jobs": [one(raw)]}), 403)


def test_what_is_right_can_be_made_without_the_rest(served: Served, raw: str) -> None:
    body = {"all_or_nothing": False, "jobs": [
        one(raw, name="good"), one("ds_00000000000000000000", ref="bad"), one(raw, ref="needs", depends_on=["bad"]),
        one(raw, depends_on=["needs"]), one(raw, name="good, too"),
    ]}  # fmt: skip
    answer = served.operator.post("/v1/jobs:batch", json=body).json()
    assert [job and job["name"] for job in answer["jobs"]] == ["good", None, None, None, "good, too"]
    assert [e["pointer"] for e in answer["errors"]] == [
        "/jobs/1/spec/dataset", "/jobs/2/depends_on", "/jobs/3/depends_on",
    ]  # fmt: skip
    assert count(served) == 2
    body["jobs"] = body["jobs"][1:4]
    problem(served.operator.post("/v1/jobs:batch", json=body), 422)


def test_a_batch_counts_as_a_whole(settings: Settings, serve: Serve) -> None:
    strict = serve(settings.model_copy(update={"quota_queued": 3, "batch_jobs": 4}))
    raw = uploaded(strict.operator, {"a.png": b"pixels"})
    assert strict.operator.post("/v1/jobs:batch", json={"jobs": [one(raw)] * 2}).status_code == 201
    document = problem(strict.operator.post("/v1/jobs:batch", json={"jobs": [one(raw)] * 2}), 429)
    assert "2 jobs that wait to run and asks for 2 more, 3 are allowed" in document["detail"]
    large = strict.operator.post("/v1/jobs:batch", json={"jobs": [one(raw)] * 5})
    assert "a batch may have 4" in problem(large, 413)["detail"]
    assert count(strict) == 2


def test_who_needs_a_failed_job_is_told(served: Served, raw: str) -> None:
    failed = preprocess(served.operator, raw).json()["id"]
    served.operator.post(f"/v1/jobs/{failed}/cancel")
    body = {"jobs": [one(raw), one(raw, depends_on=[failed])]}
    document = problem(served.operator.post("/v1/jobs:batch", json=body), 409)
    assert pointers(document) == ["/jobs/1/depends_on"]
    assert count(served) == 1


@engines
def test_a_repeated_batch_is_one_and_costs_few_statements(served: Served, raw: str) -> None:
    body = {"jobs": [one(raw, ref=f"r{i}", depends_on=[f"r{i - 1}"] if i % 10 else []) for i in range(100)]}
    statements: list[str] = []
    event.listen(
        served.app.state.parts.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2])
    )  # fmt: skip
    first = served.operator.post("/v1/jobs:batch", json=body, headers={"Idempotency-Key": "b"})
    assert first.status_code == 201, first.text
    written = [s for s in statements if not s.startswith(("SELECT", "PRAGMA", "BEGIN"))]
    assert len(written) < 30, "rows go in together"
    again = served.operator.post("/v1/jobs:batch", json=body, headers={"Idempotency-Key": "b"})
    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = {"jobs": body["jobs"][:2]}
    problem(served.operator.post("/v1/jobs:batch", json=other, headers={"Idempotency-Key": "b"}), 409)
    with served.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(JobDependency)).one() == 90
        turns = session.scalars(select(Job.turn).order_by(Job.created_at, Job.id)).all()
    assert len(set(turns)) == 100, "one behind the other"
