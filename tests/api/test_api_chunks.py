"""A job that is shared out among child jobs is one job to its owner: one look, one pause, one cancellation."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event, func, select

from services.core import attempts
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Job, JobEvent
from services.core.tables.base import now
from tests.api.calls import pointers, preprocess, problem, take, uploaded
from tests.api.serving import Served
from tests.core.databases import engines

CHUNKS = 3


def shared_out(served: Served, chunks: int = CHUNKS, **fields: Any) -> dict[str, Any]:
    """A new job of so many chunks."""
    raw = uploaded(served.operator, {"a.png": b"pixels"})
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}, "chunks": chunks}
    response = preprocess(served.operator, raw, spec=spec, **fields)
    assert response.status_code == 201, response.text
    job: dict[str, Any] = response.json()
    return job


def show(served: Served, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = served.viewer.get(f"/v1/jobs/{job_id}").json()
    return job


def children(served: Served, job_id: str) -> list[dict[str, Any]]:
    asked = {"parent": job_id, "sort": "created_at", "limit": 100}
    items = served.viewer.get("/v1/jobs", params=asked).json()["items"]
    return sorted(items, key=lambda child: child["spec"]["chunk"])


def states(served: Served, job_id: str) -> list[str]:
    return [child["state"] for child in children(served, job_id)]


@engines
def test_a_shared_out_job_shows_what_its_chunks_do(served: Served) -> None:
    job = shared_out(served, name="x" * 128, tags=["nightly"], priority=3, max_attempts=2)
    assert (job["state"], job["children"], job["parent"], job["depends_on"]) == ("waiting", CHUNKS, None, [])
    assert job["reason"] == "waits for its chunks: 0 of 3 chunks are done, 3 queued"
    assert show(served, job["id"]) == job
    mine = children(served, job["id"])
    assert [child["spec"]["chunk"] for child in mine] == [0, 1, 2]
    for child in mine:
        assert (child["kind"], child["parent"], child["children"]) == ("preprocess_chunk", job["id"], None)
        assert (child["priority"], child["max_attempts"], child["created_by"]) == (3, 2, job["created_by"])
        assert child["name"] == "x" * 114 + f", chunk {child['spec']['chunk'] + 1} of 3"
    assert len(served.viewer.get("/v1/jobs", params={"tag": "nightly"}).json()["items"]) == 1
    claims = [take(served.database, child["id"]) for child in mine[:2]]
    with served.database.session() as session:
        for claim, done in zip(claims, (10, 4), strict=True):
            attempts.record_progress(session, claim.job_id, claim.fence, done=done, total=10, message="", eta_s=None)
        attempts.succeed(session, claims[0].job_id, claims[0].fence, {})
    shown = show(served, job["id"])
    assert shown["reason"] == "waits for its chunks: 1 of 3 chunks are done, 1 queued, 1 running"
    assert (shown["progress"]["done"], shown["progress"]["total"]) == (14, 30), "the third has as many as the others"
    assert (
        served.operator.patch(f"/v1/jobs/{job['id']}", json={"priority": 7}, headers={"If-Match": "*"}).status_code
        == 200
    )
    assert [child["priority"] for child in children(served, job["id"])] == [3, 7, 7], "what has ended keeps its own"
    with served.database.session() as session:
        attempts.succeed(session, claims[1].job_id, claims[1].fence, {})
    last = take(served.database, mine[2]["id"])
    with served.database.session() as session:
        attempts.succeed(session, last.job_id, last.fence, {})
        sweep(session, now())
    assert show(served, job["id"])["state"] == "queued"


@engines
def test_what_is_asked_of_the_job_is_asked_of_its_chunks(served: Served) -> None:
    job_id = shared_out(served)["id"]
    running = take(served.database, children(served, job_id)[0]["id"])
    assert served.operator.post(f"/v1/jobs/{job_id}/pause").json()["state"] == "paused"
    assert states(served, job_id) == ["running", "paused", "paused"]
    assert show(served, running.job_id)["reason"] == "is being paused"
    assert served.operator.post(f"/v1/jobs/{job_id}/resume").json()["state"] == "waiting"
    assert states(served, job_id) == ["running", "queued", "queued"]
    assert show(served, running.job_id)["reason"] is None
    assert served.operator.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert states(served, job_id) == ["running", "cancelled", "cancelled"]
    assert show(served, running.job_id)["reason"] == "is being cancelled"
    refused = problem(served.operator.delete(f"/v1/jobs/{job_id}"), 409)["detail"]
    assert f"its child job {running.job_id} (running)" in refused
    with served.database.session() as session:
        orders = attempts.renew(session, running.job_id, running.fence, 30)
        assert orders is not None and orders.stop == "cancel"
        attempts.release(session, running.job_id, running.fence, attempts.State.CANCELLED, "cancelled by its owner")
    assert served.operator.delete(f"/v1/jobs/{job_id}").status_code == 204
    with served.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


@engines
def test_what_is_asked_of_many_chunks_takes_no_more_statements_than_of_a_few(served: Served) -> None:
    counts: dict[str, list[int]] = {}
    for chunks in (2, 40):
        job_id = shared_out(served, chunks=chunks)["id"]
        mine = [child["id"] for child in children(served, job_id)]
        for child in mine[: chunks // 2]:
            # has left something in the store
            ran = take(served.database, child)
            with served.database.session() as session:
                attempts.release(session, child, ran.fence, attempts.State.QUEUED, "shut down")
        running = take(served.database, mine[-1]).job_id
        for place, what in enumerate(("pause", "resume", "pause", "priority", "limit", "resume", "cancel")):
            counts.setdefault(f"{place} {what}", []).append(statements(served, job_id, what))
        assert states(served, job_id) == ["cancelled"] * (chunks - 1) + ["running"]
        with served.database.reading() as session:
            told = session.execute(select(JobEvent.job_id, JobEvent.type).order_by(JobEvent.seq)).all()
        for child in mine:
            moved = ("pause_requested", "pause_withdrawn", "cancel_requested")
            if child != running:
                moved = ("paused", "queued", "cancelled")
            expected = [moved[0], moved[1], moved[0], "priority", "time_limit", moved[1], moved[2]]
            assert [type_ for job, type_ in told if job == child][-7:] == expected
    assert {what: few for what, (few, _) in counts.items()} == {what: many for what, (_, many) in counts.items()}


def statements(served: Served, job_id: str, what: str) -> int:
    """How many statements a request about a job makes."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    engine = served.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        if what in ("priority", "limit"):
            change = {"priority": 5} if what == "priority" else {"time_limit_s": 1000.0}
            response = served.operator.patch(f"/v1/jobs/{job_id}", json=change, headers={"If-Match": "*"})
        else:
            response = served.operator.post(f"/v1/jobs/{job_id}/{what}")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert response.status_code == 200, response.text
    return len(asked)


def test_a_chunk_that_is_cancelled_alone_ends_the_job(served: Served) -> None:
    job_id = shared_out(served)["id"]
    second = children(served, job_id)[1]["id"]
    assert served.operator.post(f"/v1/jobs/{second}/cancel").status_code == 200
    with served.database.session() as session:
        sweep(session, now())
    job = show(served, job_id)
    assert (job["state"], job["error"]["reason"]) == ("failed", "dependency")
    assert job["error"]["detail"] == f"chunk 2 of 3 ({second}) has been cancelled; the dataset is made of all chunks"
    assert states(served, job_id) == ["cancelled"] * CHUNKS


def test_chunks_wait_for_what_their_job_waits_for(served: Served) -> None:
    first = shared_out(served)["id"]
    job = shared_out(served, depends_on=[first])
    assert (job["depends_on"], job["reason"]) == ([first], f"waits for {first}")
    assert states(served, job["id"]) == ["waiting"] * CHUNKS
    served.operator.post(f"/v1/jobs/{first}/cancel")
    with served.database.session() as session:
        sweep(session, now())
    assert first in show(served, job["id"])["error"]["detail"]
    assert states(served, job["id"]) == ["cancelled"] * CHUNKS


def test_a_shared_out_job_is_one_to_the_quota(settings: Settings, serve: Callable[[Settings], Served]) -> None:
    strict = serve(settings.model_copy(update={"quota_queued": 2}))
    job = shared_out(strict)
    raw = job["spec"]["dataset"]
    assert preprocess(strict.operator, raw).status_code == 201
    assert "has 2 jobs that wait to run, 2 are allowed" in problem(preprocess(strict.operator, raw), 429)["detail"]


@pytest.mark.parametrize("chunks", [0, 257, 2.5])
def test_the_number_of_chunks_is_checked(served: Served, chunks: float) -> None:
    raw = uploaded(served.operator, {"a.png": b"pixels"})
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}, "chunks": chunks}
    assert pointers(problem(preprocess(served.operator, raw, spec=spec), 422)) == ["/spec/chunks"]


def test_nobody_submits_a_chunk(served: Served) -> None:
    raw = uploaded(served.operator, {"a.png": b"pixels"})
    spec = {"dataset": raw, "recipe": {"name": "image_folder"}, "chunks": 2, "chunk": 0}
    body = {"kind": "preprocess_chunk", "spec": spec}
    document = problem(served.operator.post("/v1/jobs", json=body), 422)
    assert pointers(document) == ["/kind"]
    assert "'preprocess_chunk' jobs are made by the platform alone" in document["detail"]
    assert pointers(problem(served.operator.post("/v1/jobs:batch", json={"jobs": [body]}), 422)) == ["/jobs/0/kind"]
    assert "preprocess_chunk" not in served.viewer.get("/v1/job-kinds").text
