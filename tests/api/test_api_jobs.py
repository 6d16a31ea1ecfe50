"""Jobs over REST: submit, watch, cancel; every wrong field is named and nothing is recorded."""

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import event, func, select

from services.core import attempts
from services.core.attempts import Artifact
from services.core.bell import JOBS_QUEUE
from services.core.scheduling import Ring
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Job
from services.core.tables.base import now
from services.embedded.servers import free_port
from tests.api.calls import LIST, announced, pointers, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import KEYS, Served, listening
from tests.core.databases import engines

FILES = {"a.png": b"pixels"}
PREPARED, BUFFER, MODEL = "ds_prepared0000", "ds_buffer000000", "mdl_trained00000"


@pytest.fixture
def raw(served: Served) -> str:
    return uploaded(served.operator, FILES)


@pytest.fixture(scope="module")
def known(refusing: Served) -> Served:
    """A platform that has a prepared dataset, a buffer and a model."""
    prepared(refusing.database, PREPARED)
    prepared(refusing.database, BUFFER, role="buffer")
    trained(refusing.database, None, MODEL)
    return refusing


@engines
def test_a_job_is_recorded_with_its_defaults(served: Served, raw: str, redis_url: str) -> None:
    response = preprocess(served.operator, raw, name="Röntgen, first try")
    assert response.status_code == 201
    job = response.json()
    assert (job["state"], job["attempt"], job["max_attempts"]) == ("queued", 0, 3)
    assert (job["name"], job["created_by"]) == ("Röntgen, first try", "the operator")
    assert job["reason"] == "no worker is alive; it starts when one is started"
    assert job["spec"]["max_bad_fraction"] == 0.1
    assert job["spec"]["recipe"]["size"] == [224, 224]
    assert served.viewer.get(f"/v1/jobs/{job['id']}").json() == job
    events = served.viewer.get(f"/v1/jobs/{job['id']}/events").json()["items"]
    assert [e["type"] for e in events] == ["queued"]
    with redis.Redis.from_url(redis_url) as client:
        deadline = time.monotonic() + 5
        while not any(job["id"].encode() in m for m in client.lrange(JOBS_QUEUE, 0, -1)):  # type: ignore[union-attr]
            assert time.monotonic() < deadline, "no worker was told"
            time.sleep(0.01)


def ask(kind: str, spec: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "spec": spec} | fields


FOLDER = {"name": "image_folder"}
WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "unknown kind": (ask("trian", {}), {"/kind": "expected one of preprocess, inspect_dataset, pretrain"}),
    "several fields": (
        ask("pretrain", {"dataset": PREPARED, "batchsize": 4, "mask_ratio": 1.5, "epochs": "many"}),
        {"/spec/batchsize": "there is no such field", "/spec/mask_ratio": "less than 1", "/spec/epochs": "integer"},
    ),
    "missing field": (ask("pretrain", {}), {"/spec/dataset": "required"}),
    "not a number": (ask("pretrain", {"dataset": PREPARED, "base_lr": "NaN"}), {"/spec/base_lr": "finite number"}),
    "malformed id": (ask("pretrain", {"dataset": "../ds"}), {"/spec/dataset": "identifier like ds_"}),
    "missing dataset": (
        ask("pretrain", {"dataset": "ds_00000000000000000000"}),
        {"/spec/dataset": "dataset ds_00000000000000000000 does not exist"},
    ),
    "missing model": (
        ask("finetune", {"dataset": PREPARED, "task": "segmentation", "init_model": "mdl_00000000"}),
        {"/spec/init_model": "model mdl_00000000 does not exist"},
    ),
    "prepared for preprocess": (
        ask("preprocess", {"dataset": PREPARED, "recipe": FOLDER}), {"/spec/dataset": "expected a raw dataset"}
    ),
    "file outside its dataset": (
        ask("import_model", {"dataset": PREPARED, "file": "../a.pth"}), {"/spec/file": "without '..'"}
    ),
    "prepared for import_model": (
        ask("import_model", {"dataset": PREPARED}), {"/spec/dataset": "expected a raw dataset"}
    ),
    "no buffer": (
        ask("pretrain", {"dataset": PREPARED, "init_model": MODEL, "rehearsal": [BUFFER, PREPARED]}),
        {"/spec/rehearsal/1": "expected a rehearsal buffer"},
    ),
    "rehearsal without a teacher": (
        ask("pretrain", {"dataset": PREPARED, "rehearsal": [BUFFER]}), {"/spec": "rehearsal needs init_model"}
    ),
    "nothing to measure on": (
        ask("pretrain", {"dataset": PREPARED, "measured_on": [BUFFER, "ds_00000000000000000000"]}),
        {"/spec/measured_on/0": "is a buffer; expected a prepared", "/spec/measured_on/1": "does not exist"},
    ),
    "shares": (
        ask("pretrain", {"dataset": PREPARED, "batch_size": 6}, resources={"gpus": 4}),
        {"/spec/batch_size": "6 samples cannot be shared equally by 4 processes x 1 micro-batches; use a multiple"},
    ),
    "recipe": (
        ask("preprocess", {"dataset": PREPARED, "recipe": FOLDER | {"size": [20, 224], "modality": "mr"}}),
        {"/spec/recipe/size/0": "multiple of 16", "/spec/recipe/modality": "is volume3d"},
    ),
    "unknown recipe": (
        ask("preprocess", {"dataset": PREPARED, "recipe": {"name": "folder"}}), {"/spec/recipe": "image_folder"}
    ),
    "dependency": (
        ask("pretrain", {"dataset": PREPARED}, depends_on=["job_0000000000"]), {"/depends_on/0": "does not exist"}
    ),
    "malformed dependency": (ask("pretrain", {"dataset": PREPARED}, depends_on=["j"]), {"/depends_on/0": "like job_"}),
    "priority": (ask("pretrain", {"dataset": PREPARED}, priority=101), {"/priority": "less than or equal to 100"}),
    "attempts": (ask("pretrain", {"dataset": PREPARED}, max_attempts=0), {"/max_attempts": "greater than or equal"}),
    "field of the request": (ask("pretrain", {"dataset": PREPARED}, after=[]), {"/after": "there is no such field"}),
    "name": (ask("pretrain", {"dataset": PREPARED}, name="a\x00"), {"/name": "control characters"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_field_is_named(known: Served, name: str) -> None:
    body, expected = WRONG[name]
    document = problem(known.operator.post("/v1/jobs", json=body), 422)
    found = {e["pointer"]: e["detail"] for e in document["errors"]}
    assert set(found) == set(expected)
    for pointer, said in expected.items():
        assert said in found[pointer]
    assert known.viewer.get("/v1/jobs").json() == LIST


def test_a_dataset_that_is_not_there_yet(served: Served) -> None:
    dataset_id = announced(served.operator, FILES)["dataset"]["id"]
    document = problem(preprocess(served.operator, dataset_id), 422)
    assert "still uploading; complete its upload first" in document["detail"]
    raw = uploaded(served.operator, FILES)
    body = ask("pretrain", {"dataset": raw})
    assert "preprocess it first" in problem(served.operator.post("/v1/jobs", json=body), 422)["detail"]


@engines
def test_what_a_worker_reports_is_shown(served: Served, raw: str) -> None:
    job_id = preprocess(served.operator, raw).json()["id"]
    claim = take(served.database, job_id)
    key = f"jobs/{job_id}/artifacts/000001/report.json"
    served.store.put_bytes(key, b'{"inputs": 1}')
    with served.database.session() as session:
        attempts.record_progress(session, job_id, claim.fence, done=30, total=120, message="a.png", eta_s=45.5)
        attempts.record_rows(
            session, job_id, claim.fence, metrics=[(step, {"loss": 1 / step}) for step in range(1, 6)],
            logs=[("info", "begun"), ("warning", "left out b.png")],
            artifacts=[Artifact("report.json", key, "application/json", 13)],
        )  # fmt: skip
    job = served.viewer.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "running"
    assert job["progress"] == {"done": 30, "total": 120, "fraction": 0.25, "message": "a.png", "eta_s": 45.5}
    first = served.viewer.get(f"/v1/jobs/{job_id}/metrics", params={"limit": 3}).json()
    rest = served.viewer.get(f"/v1/jobs/{job_id}/metrics", params={"after": first["next"]}).json()
    assert [row["step"] for row in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
    assert rest["items"][-1]["values"] == {"loss": 0.2}
    nothing = served.viewer.get(f"/v1/jobs/{job_id}/metrics", params={"after": rest["next"]}).json()
    assert nothing == {"items": [], "next": rest["next"]}, "to be asked again with the same number"
    logs = served.viewer.get(f"/v1/jobs/{job_id}/logs").json()["items"]
    assert [(row["level"], row["message"]) for row in logs] == [("info", "begun"), ("warning", "left out b.png")]
    (artifact,) = served.viewer.get(f"/v1/jobs/{job_id}/artifacts").json()["items"]
    assert httpx.get(artifact["url"]).json() == {"inputs": 1}
    assert (artifact["name"], artifact["size"]) == ("report.json", 13)
    with served.database.session() as session:
        attempts.succeed(session, job_id, claim.fence, {"outputs": {"dataset": "ds_1"}, "metrics": {"samples": 4.0}})
    job = served.viewer.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["result"]["outputs"]) == ("succeeded", {"dataset": "ds_1"})
    assert job["progress"]["fraction"] == 1
    assert job["duration_s"] >= 0


@pytest.mark.parametrize("what", ["", "/metrics", "/logs", "/events", "/artifacts"])
def test_unknown_jobs(refusing: Served, what: str) -> None:
    assert "job_none" in problem(refusing.viewer.get(f"/v1/jobs/job_none{what}"), 404)["detail"]


@engines
def test_odd_characters_and_numbers_are_no_breakdown(served: Served, raw: str) -> None:
    job_id = preprocess(served.operator, raw).json()["id"]
    for path, status in (
        ("/v1/jobs/a%00b", {404, 422}),
        ("/v1/datasets/a%00b", {404, 422}),
        ("/v1/jobs/a%00b/logs", {404, 422}),
        ("/v1/jobs?kind=a%00b", {200, 422}),
        (f"/v1/jobs/{job_id}/logs?after={10**30}", {422}),
        (f"/v1/jobs/{job_id}/logs?after=-1", {422}),
        ("/v1/jobs/" + "x" * 2000, {404}),
        ("/v1/deployments?name=%27%20OR%201=1", {200}),
    ):
        response = served.viewer.get(path)
        assert response.status_code in status, f"{path}: {response.text}"


def test_cancel(served: Served, raw: str) -> None:
    queued = preprocess(served.operator, raw).json()["id"]
    assert served.operator.post(f"/v1/jobs/{queued}/cancel").json()["state"] == "cancelled"
    assert "already been cancelled" in problem(served.operator.post(f"/v1/jobs/{queued}/cancel"), 409)["detail"]
    runs = preprocess(served.operator, raw).json()["id"]
    claim = take(served.database, runs)
    ordered = served.operator.post(f"/v1/jobs/{runs}/cancel").json()
    assert (ordered["state"], ordered["reason"]) == ("running", "is being cancelled")
    with served.database.session() as session:
        assert attempts.renew(session, runs, claim.fence, 30) == attempts.Orders("cancel")
        attempts.succeed(session, runs, claim.fence, {})
    assert "already succeeded" in problem(served.operator.post(f"/v1/jobs/{runs}/cancel"), 409)["detail"]
    problem(served.operator.post("/v1/jobs/job_none/cancel"), 404)


def test_pause_and_resume(served: Served, raw: str) -> None:
    queued = preprocess(served.operator, raw).json()["id"]
    assert served.operator.post(f"/v1/jobs/{queued}/pause").json()["state"] == "paused"
    assert served.operator.post(f"/v1/jobs/{queued}/resume").json()["state"] == "queued"
    claim = take(served.database, queued)
    ordered = served.operator.post(f"/v1/jobs/{queued}/pause").json()
    assert (ordered["state"], ordered["reason"]) == ("running", "is being paused")
    assert served.operator.post(f"/v1/jobs/{queued}/resume").json()["reason"] is None, "taken back"
    served.operator.post(f"/v1/jobs/{queued}/cancel")
    assert "is being cancelled" in problem(served.operator.post(f"/v1/jobs/{queued}/pause"), 409)["detail"]
    with served.database.session() as session:
        attempts.succeed(session, queued, claim.fence, {})
    for call in ("pause", "resume"):
        assert "has already succeeded" in problem(served.operator.post(f"/v1/jobs/{queued}/{call}"), 409)["detail"]
        problem(served.operator.post(f"/v1/jobs/job_none/{call}"), 404)
        problem(served.viewer.post(f"/v1/jobs/{queued}/{call}"), 403)


def test_what_a_job_needs_is_kept_and_told(served: Served, raw: str) -> None:
    asked = {
        "resources": {"gpus": 2, "memory_bytes": 2**36},
        "time_limit_s": 3600,
        "max_attempts": 5,
        "retry": {"on": ["storage"]},
    }
    job = preprocess(served.operator, raw, **asked).json()
    assert job["resources"] == {"nodes": None, **asked["resources"]}
    assert job["retry"] == {"backoff_s": 10.0, "on": ["storage"]}
    assert (job["max_attempts"], job["time_limit_s"], job["ran_s"]) == (5, 3600.0, 0.0)
    assert job["reason"] == "no worker is alive; it starts when one is started"
    for wrong, pointer in (
        ({"resources": {"gpus": -1}}, "/resources/gpus"),
        ({"resources": {"tpus": 1}}, "/resources/tpus"),
        ({"resources": {"nodes": 0}}, "/resources/nodes"),
        # it shares nothing out among processes
        ({"resources": {"nodes": 2}}, "/resources/nodes"),
        ({"retry": {"on": ["data"]}}, "/retry/on/0"),
        ({"time_limit_s": 0}, "/time_limit_s"),
    ):
        errors = problem(preprocess(served.operator, raw, **wrong), 422)["errors"]
        assert [error["pointer"] for error in errors] == [pointer]


def test_a_job_in_its_back_off_says_until_when(served: Served, raw: str) -> None:
    job_id = preprocess(served.operator, raw, retry={"backoff_s": 600}).json()["id"]
    claim = take(served.database, job_id)
    with served.database.session() as session:
        attempts.fail(session, job_id, claim.fence, {"title": "Broken", "detail": "it broke", "reason": "code"})
    job = served.viewer.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "queued"
    assert job["reason"].startswith("attempt 1 has failed; the next one starts at 20")
    assert job["not_before"] > job["started_at"]


@engines
def test_jobs_wait_for_others_and_say_so(served: Served, raw: str) -> None:
    first, second = (preprocess(served.operator, raw).json()["id"] for _ in range(2))
    waiting = preprocess(served.operator, raw, depends_on=[first, second]).json()
    assert (waiting["state"], set(waiting["depends_on"])) == ("waiting", {first, second})
    assert first in waiting["reason"] and second in waiting["reason"]
    claim = take(served.database, first)
    with served.database.session() as session:
        attempts.succeed(session, first, claim.fence, {})
    assert served.viewer.get(f"/v1/jobs/{waiting['id']}").json()["reason"] == f"waits for {second}"
    served.operator.post(f"/v1/jobs/{second}/cancel")
    with served.database.session() as session:
        sweep(session, now())
    failed = served.viewer.get(f"/v1/jobs/{waiting['id']}").json()
    assert failed["state"] == "failed"
    assert failed["error"]["reason"] == "dependency" and second in failed["error"]["detail"]
    assert second in problem(preprocess(served.operator, raw, depends_on=[second]), 409)["detail"]


@engines
def test_the_same_request_twice_at_once_makes_one_job(served: Served, raw: str) -> None:
    barrier, answers = threading.Barrier(6), []

    def post() -> None:
        with httpx.Client(base_url=served.url, headers=dict(served.operator.headers), timeout=60) as client:
            barrier.wait()
            answers.append(preprocess(client, raw, headers={"Idempotency-Key": "k 1".replace(" ", "-")}))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [a.status_code for a in answers] == [201] * 6
    assert len({a.json()["id"] for a in answers}) == 1
    with served.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_a_key_is_for_one_request_of_one_caller(served: Served, raw: str) -> None:
    key = {"Idempotency-Key": "nightly-2026-01-01"}
    first = preprocess(served.operator, raw, headers=key).json()["id"]
    assert "another request" in problem(preprocess(served.operator, raw, headers=key, priority=1), 409)["detail"]
    assert preprocess(served.admin, raw, headers=key).json()["id"] != first
    served.operator.post(f"/v1/jobs/{first}/cancel")
    served.admin.post(f"/v1/jobs/{served.viewer.get('/v1/jobs').json()['items'][0]['id']}/cancel")
    assert served.operator.delete(f"/v1/datasets/{raw}").status_code == 204
    repeated = preprocess(served.operator, raw, headers=key)
    assert (repeated.status_code, repeated.json()["id"]) == (201, first), "even when its dataset is gone"
    for bad in ("", "with space", "x" * 256):
        document = problem(preprocess(served.operator, raw, headers={"Idempotency-Key": bad}), 422)
        assert pointers(document) == ["header:Idempotency-Key"]


def test_a_broken_broker_loses_no_job(
    settings: Settings, served: Served, raw: str, serve: Callable[[Settings], Served]
) -> None:
    deaf = serve(settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
    began = time.monotonic()
    response = preprocess(deaf.operator, raw)
    assert response.status_code == 201
    assert time.monotonic() - began < 2, "the answer does not wait for the broker"
    assert deaf.viewer.get(f"/v1/jobs/{response.json()['id']}").json()["state"] == "queued"
    with deaf.database.session() as session:
        assert sweep(session, now()) == [Ring(response.json()["id"])], "the sweeper rings again"


def test_lists_are_filtered_and_cost_a_fixed_number_of_queries(served: Served, raw: str) -> None:
    made = [preprocess(served.operator, raw).json()["id"]]
    for _ in range(12):
        made.append(preprocess(served.operator, raw, depends_on=made[-3:]).json()["id"])
    statements: list[str] = []
    engine = served.app.state.parts.database.engine

    @event.listens_for(engine, "before_cursor_execute")
    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    everything = served.viewer.get("/v1/jobs").json()["items"]
    assert [job["id"] for job in everything] == made[::-1]
    assert everything[0]["depends_on"] == sorted(made[-4:-1])
    assert sum(s.startswith("SELECT") for s in statements) == 5, (
        "the key, the jobs, their dependencies, tags, the workers"
    )
    found = served.viewer.get("/v1/jobs", params={"state": "queued", "kind": "preprocess"}).json()["items"]
    assert [job["id"] for job in found] == made[:1]
    assert served.viewer.get("/v1/jobs", params={"kind": "export"}).json() == LIST
    assert pointers(problem(served.viewer.get("/v1/jobs", params={"state": "done"}), 422)) == ["query:state"]


def test_two_servers_share_one_database(settings: Settings, served: Served, raw: str) -> None:
    from services.api.app import create_app

    with listening(create_app(settings)) as url:
        headers = {"Authorization": f"Bearer {next(iter(KEYS.values()))}"}
        job = preprocess(served.operator, raw).json()
        assert httpx.get(f"{url}/v1/jobs/{job['id']}", headers=headers).json() == job
