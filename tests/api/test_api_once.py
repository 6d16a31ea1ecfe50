"""Every POST may be repeated under a key: it is carried out once, and answered alike."""

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event, func, select, update

from services.core import once
from services.core.once import LEASE_S, Answer, Ticket
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import DEFAULT_PROJECT, ApiKey, IdempotencyKey, Job, Project
from services.core.tables.base import now
from tests.api.calls import announced, entry, preprocess, problem, trained, uploaded
from tests.api.serving import Served
from tests.api.test_api_shell import Serve
from tests.core.databases import engines

KEY = {"Idempotency-Key": "once-1"}


@pytest.fixture
def raw(served: Served) -> str:
    return uploaded(served.operator, {"a.png": b"pixels"})


def count(served: Served, table: Any) -> int:
    with served.database.reading() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


@engines
def test_a_repeated_request_gets_the_whole_answer(served: Served, raw: str) -> None:
    first = served.admin.post("/v1/projects", json={"name": "north", "description": "x"}, headers=KEY)
    again = served.admin.post("/v1/projects", content=b'{"description":"x",  "name":"north"}', headers=KEY | {
        "Content-Type": "application/json"})  # fmt: skip
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    for other in (
        served.admin.post("/v1/projects", json={"name": "south"}, headers=KEY),
        served.admin.post("/v1/keys", json={"name": "n", "role": "viewer"}, headers=KEY),
    ):
        assert "'once-1' was used for another request" in problem(other, 409)["detail"]
    assert served.operator.post(f"/v1/datasets/{raw}/complete", headers=KEY).status_code == 200, "keys are the caller's"
    job = preprocess(served.operator, raw).json()["id"]
    cancelled = [served.operator.post(f"/v1/jobs/{job}/cancel", headers={"Idempotency-Key": "c"}) for _ in range(2)]
    assert [answer.json()["state"] for answer in cancelled] == ["cancelled"] * 2
    problem(served.operator.post(f"/v1/jobs/{job}/cancel"), 409)


def test_what_was_refused_may_be_tried_again(served: Served) -> None:
    problem(served.admin.post("/v1/projects", json={"name": "not a name!"}, headers=KEY), 422)
    problem(served.viewer.post("/v1/projects", json={"name": "north"}, headers=KEY), 403)
    problem(served.stranger.post("/v1/projects", json={"name": "north"}, headers=KEY), 401)
    problem(served.admin.post("/v1/nothing", headers=KEY), 404)
    assert count(served, IdempotencyKey) == 0
    assert served.admin.post("/v1/projects", json={"name": "north"}, headers=KEY).status_code == 201


@engines
def test_secrets_are_not_kept(served: Served) -> None:
    body = {"name": "scanner", "role": "viewer"}
    made = served.admin.post("/v1/keys", json=body, headers=KEY).json()
    again = problem(served.admin.post("/v1/keys", json=body, headers=KEY), 409)
    assert made["key"]["id"] in again["detail"] and "told once" in again["detail"]
    rotated = served.admin.post(f"/v1/keys/{made['key']['id']}/rotate", headers={"Idempotency-Key": "r"}).json()
    files = {"name": "chest", "files": [entry("a.png")]}
    dataset = served.operator.post("/v1/datasets", json=files, headers=KEY).json()["dataset"]["id"]
    assert dataset in problem(served.operator.post("/v1/datasets", json=files, headers=KEY), 409)["detail"]
    with served.database.reading() as session:
        rows = session.scalars(select(IdempotencyKey)).all()
        assert session.scalars(select(func.count()).select_from(ApiKey)).one() == 4, "three roles and one more"
    assert {row.made for row in rows} == {made["key"]["id"], dataset}
    for row in rows:
        text = f"{row.body} {row.headers} {row.digest}"
        assert made["secret"] not in text and rotated["secret"] not in text and "X-Amz" not in text


@engines
def test_many_at_once_are_one(served: Served) -> None:
    barrier, answers = threading.Barrier(6), []

    def post() -> None:
        with httpx.Client(base_url=served.url, headers=dict(served.admin.headers), timeout=60) as client:
            barrier.wait()
            answers.append(client.post("/v1/projects", json={"name": "north"}, headers=KEY))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.text for answer in answers}) == 1
    assert count(served, Project) == 2


def ticket(served: Served) -> Ticket:
    """The ticket of a request for a project, as the server sees it."""
    owner = served.admin.get("/v1/me").json()["key_id"]
    return Ticket(owner, KEY["Idempotency-Key"], "POST", "/v1/projects",
                  once.digest_of("/v1/projects", "", body=b'{"name": "north"}'))  # fmt: skip


@engines
def test_a_request_whose_server_died_is_carried_out_after_a_while(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.once.PATIENCE_S", 0.2)
    dead = ticket(served)
    with served.database.session() as session:
        assert once.reserve(session, dead, now()) is None
    waiting = served.admin.post("/v1/projects", json={"name": "north"}, headers=KEY)
    assert "is being carried out" in problem(waiting, 409)["detail"]
    assert waiting.headers["retry-after"] == "1"
    with served.database.session() as session:
        session.execute(update(IdempotencyKey).values(lease_until=now() - timedelta(seconds=1)))
    assert served.admin.post("/v1/projects", json={"name": "north"}, headers=KEY).status_code == 201
    with served.database.session() as session:
        once.finish(session, dead, now() - timedelta(seconds=LEASE_S), Answer(201, '{"id": "prj_late"}'))
    again = served.admin.post("/v1/projects", json={"name": "north"}, headers=KEY)
    assert again.json()["name"] == "north", "the late one changes nothing"


@engines
def test_a_job_and_its_answer_are_one_transaction(served: Served, raw: str) -> None:
    commits: list[int] = []
    engine = served.app.state.parts.database.engine
    event.listen(engine, "commit", lambda _: commits.append(count(served, Job) + 10 * count(served, IdempotencyKey)))
    assert preprocess(served.operator, raw, headers=KEY).status_code == 201
    assert count(served, Job) == count(served, IdempotencyKey) == 1
    assert set(commits) <= {0, 11}, "never one without the other"


def test_answers_are_forgotten_in_time(settings: Settings, serve: Serve) -> None:
    hasty = serve(settings.model_copy(update={"idempotency_s": 0.001}))
    assert hasty.admin.post("/v1/projects", json={"name": "north"}, headers=KEY).status_code == 201
    problem(hasty.admin.post("/v1/projects", json={"name": "north"}, headers=KEY), 409)
    assert hasty.admin.post("/v1/projects", json={"name": "south"}, headers=KEY).status_code == 201
    with hasty.database.session() as session:
        sweep(session, now() + timedelta(seconds=1))
    assert count(hasty, IdempotencyKey) == 0


def test_every_post_tells_of_the_key(served: Served) -> None:
    for path, methods in served.app.openapi()["paths"].items():
        if "post" in methods:
            names = [p["name"] for p in methods["post"]["parameters"]]
            assert names.count("Idempotency-Key") == 1, path
            assert "409" in methods["post"]["responses"], path


def test_a_deleted_job_is_not_made_again(served: Served, raw: str) -> None:
    job = preprocess(served.operator, raw, headers=KEY).json()["id"]
    served.operator.post(f"/v1/jobs/{job}/cancel")
    assert served.operator.delete(f"/v1/jobs/{job}").status_code == 204
    assert preprocess(served.operator, raw, headers=KEY).json()["id"] == job
    assert count(served, Job) == 0


def test_aliases_go_back_once(served: Served) -> None:
    for number in (1, 2):
        model = trained(served.database, None, f"mdl_{number}", project_id=DEFAULT_PROJECT)
        assert served.operator.put("/v1/aliases/production", json={"model_id": model}).status_code == 200
    for _ in range(2):
        back = served.operator.post("/v1/aliases/production/rollback", headers=KEY)
        assert back.json()["model_id"] == "mdl_1"
    assert announced(served.operator, {"b.png": b"x"})["dataset"]["state"] == "uploading"
