"""Jobs through the client; the tests play the worker's part in the database."""

import threading
from pathlib import Path
from typing import Any

import pytest

from medcoss.client import ApiError, Client, Job, JobCancelled, JobFailed
from medcoss.specs import ImageFolder, PreprocessSpec
from services.core import attempts
from services.core.lifecycle import State
from services.core.storage import ObjectStore
from tests.medcoss.client.control_plane import KEY, ControlPlane, Relay


@pytest.fixture(scope="module")
def raw(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of a raw dataset."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "a.png").write_bytes(b"x")
    with Client(plane.url, KEY) as client:
        return client.datasets.upload(folder, name="raw", modality="xray").id


def submit(client: Client, raw: str, **options: Any) -> Job:
    return client.jobs.submit("preprocess", {"dataset": raw, "recipe": {"name": "image_folder"}}, **options)


def claim(plane: ControlPlane, job: Job) -> attempts.Claim:
    with plane.database.session() as session:
        claimed = attempts.claim(session, job.id, "test", 60)
    assert claimed is not None
    return claimed


def succeed(plane: ControlPlane, job: Job) -> None:
    fence = claim(plane, job).fence
    with plane.database.session() as session:
        attempts.succeed(session, job.id, fence, {"outputs": {"dataset": "ds_made"}, "metrics": {"samples": 3}})


def test_a_spec_and_a_dict_say_the_same(client: Client, raw: str) -> None:
    spec = PreprocessSpec(dataset=raw, recipe=ImageFolder(size=(64, 64)))
    first = client.jobs.submit("preprocess", spec, name="typed", priority=7, max_attempts=2)
    second = client.jobs.submit("preprocess", spec.model_dump(mode="json"))
    assert first.spec == second.spec
    assert first.spec["recipe"]["size"] == [64, 64]
    assert (first.name, first.priority, first.max_attempts, first.state) == ("typed", 7, 2, "queued")
    assert first.id != second.id, "two calls are two jobs"


def test_wrong_fields_are_named(client: Client, raw: str) -> None:
    with pytest.raises(ApiError) as caught:
        client.jobs.submit("pretrain", {"dataset": raw, "batchsize": 4, "mask_ratio": 1.5})
    assert caught.value.status == 422
    assert {e.pointer for e in caught.value.errors} == {"/spec/batchsize", "/spec/mask_ratio"}
    assert caught.value.request_id.startswith("req_")
    assert "mask_ratio" in str(caught.value)


def test_jobs_are_looked_over_without_being_made(client: Client, raw: str) -> None:
    before = [job.id for job in client.jobs.list()]
    spec = PreprocessSpec(dataset=raw, recipe=ImageFolder(size=(64, 64)))
    seen = client.jobs.validate("preprocess", spec, gpus=1, depends_on=before[:1], time_limit_s=60, backoff_s=5)
    assert seen.valid and seen.samples is not None and seen.storage is not None
    assert (seen.samples.value, seen.storage.value, seen.storage.unit) == (1, 64 * 64, "byte")
    assert seen.spec == spec.model_dump(mode="json")
    assert "resources" in {wait.what for wait in seen.waits_for}
    wrong = client.jobs.validate("pretrain", {"dataset": raw})
    assert ([e.pointer for e in wrong.errors], wrong.steps) == (["/spec/dataset"], None)
    many = client.jobs.validate_many([{"kind": "preprocess", "spec": spec}, {"kind": "pretrain", "spec": {}}])
    assert [job.valid for job in many.jobs] == [True, False]
    assert many.storage.value == 64 * 64
    assert [job.id for job in client.jobs.list()] == before


def test_an_answer_that_is_lost_makes_one_job(plane: ControlPlane, raw: str) -> None:
    relay = Relay(plane.url.removeprefix("http://"))
    relay.drops = 2
    with Client(relay.address, KEY) as flaky:
        job = submit(flaky, raw, name="once")
        assert relay.dropped == 2
        assert [found.id for found in flaky.jobs.list() if found.name == "once"] == [job.id]
    relay.close()


def test_a_key_of_ones_own_gives_the_same_job(client: Client, raw: str) -> None:
    first = submit(client, raw, idempotency_key="nightly-1")
    assert submit(client, raw, idempotency_key="nightly-1").id == first.id
    with pytest.raises(ApiError) as caught:
        submit(client, raw, idempotency_key="nightly-1", name="other")
    assert caught.value.status == 409


def test_a_call_that_is_not_safe_is_not_repeated(plane: ControlPlane, client: Client) -> None:
    relay = Relay(plane.url.removeprefix("http://"))
    relay.drops = 1
    with Client(relay.address, KEY) as flaky, pytest.raises(Exception, match="does not answer"):
        flaky.datasets.register("unsafe", files=[{"path": "a", "size": 0, "sha256": "0" * 64}])
    assert len([d for d in client.datasets.list() if d.name == "unsafe"]) == 1
    relay.close()


def test_waiting_ends_with_the_job(plane: ControlPlane, client: Client, raw: str) -> None:
    job = submit(client, raw)
    seen: list[str] = []

    def update(now: Job) -> None:
        seen.append(now.state)
        if now.state == "queued":
            succeed(plane, job)

    finished = client.jobs.wait(job.id, timeout=20, on_update=update)
    assert seen == ["queued", "succeeded"]
    assert finished.outputs == {"dataset": "ds_made"}
    assert finished.ended
    assert finished.result is not None
    assert finished.result["metrics"]["samples"] == 3
    assert job.outputs == {}


def test_a_failed_job_says_why(plane: ControlPlane, client: Client, raw: str) -> None:
    job = submit(client, raw)
    fence = claim(plane, job).fence
    with plane.database.session() as session:
        problem = {"title": "Input that cannot be used", "detail": "notes.png: no picture", "reason": "data"}
        assert attempts.fail(session, job.id, fence, problem) is State.FAILED
    with pytest.raises(JobFailed, match=r"notes\.png: no picture") as caught:
        client.jobs.wait(job.id)
    error = caught.value.job.error
    assert error is not None and error.items() >= problem.items()
    assert error["advice"][0].startswith("mend the input")
    assert caught.value.job.attempt == 1


def test_cancelled_and_too_slow(client: Client, raw: str) -> None:
    job = submit(client, raw)
    with pytest.raises(TimeoutError, match=f"{job.id} is still queued after 0.3 s"):
        client.jobs.wait(job.id, timeout=0.3)
    assert client.jobs.cancel(job.id).state == "cancelled"
    with pytest.raises(JobCancelled, match=job.id):
        client.jobs.wait(job.id)
    assert [event.type for event in client.jobs.events(job.id)] == ["queued", "cancelled"]
    with pytest.raises(ApiError, match="already"):
        client.jobs.cancel(job.id)


def test_waiting_outlives_an_outage(plane: ControlPlane, client: Client, raw: str) -> None:
    job = submit(client, raw)
    relay = Relay(plane.url.removeprefix("http://"))

    def update(now: Job) -> None:
        if now.state == "queued":
            succeed(plane, job)
            # more than one call tries
            relay.drops = 5

    with Client(relay.address, KEY) as flaky:
        assert flaky.jobs.wait(job.id, timeout=30, on_update=update).state == "succeeded"
    assert relay.dropped == 5
    relay.close()


def test_dependencies_are_kept(client: Client, raw: str) -> None:
    first = submit(client, raw)
    second = submit(client, raw, depends_on=[first.id])
    assert (second.state, second.depends_on) == ("waiting", [first.id])
    assert first.id in (second.reason or "")


def test_rows_are_read_to_the_end(plane: ControlPlane, client: Client, raw: str) -> None:
    job = submit(client, raw)
    fence = claim(plane, job).fence
    with plane.database.session() as session:
        values = [(step, {"loss/xray": 1 / (step + 1)}) for step in range(2300)]
        attempts.record_rows(session, job.id, fence, metrics=values)
    metrics = list(client.jobs.metrics(job.id))
    assert [row.step for row in metrics] == list(range(2300))
    assert metrics[1].values == {"loss/xray": 0.5}
    assert [row.step for row in client.jobs.metrics(job.id, after=metrics[2297].seq)] == [2298, 2299]


def test_a_log_is_followed_until_the_job_ends(plane: ControlPlane, client: Client, raw: str) -> None:
    job = submit(client, raw)
    fence = claim(plane, job).fence

    def work() -> None:
        for number in range(3):
            with plane.database.session() as session:
                attempts.record_rows(session, job.id, fence, logs=[("info", f"line {number}")])
        with plane.database.session() as session:
            attempts.succeed(session, job.id, fence, {"outputs": {}})

    worker = threading.Timer(0.2, work)
    worker.start()
    lines = [line.message for line in client.jobs.logs(job.id, follow=True)]
    worker.join()
    assert lines == ["line 0", "line 1", "line 2"]


def test_artifacts_are_fetched(plane: ControlPlane, client: Client, raw: str, tmp_path: Path) -> None:
    job = submit(client, raw)
    fence = claim(plane, job).fence
    kept = attempts.Artifact("pictures/a.png", f"jobs/{job.id}/artifacts/pictures/a.png", "image/png", 7)
    ObjectStore(plane.settings).put_bytes(kept.key, b"picture")
    with plane.database.session() as session:
        attempts.record_rows(session, job.id, fence, artifacts=[kept])
    assert [artifact.name for artifact in client.jobs.artifacts(job.id)] == ["pictures/a.png"]
    assert client.jobs.download_artifacts(job.id, tmp_path) == [tmp_path / "pictures" / "a.png"]
    assert (tmp_path / "pictures" / "a.png").read_bytes() == b"picture"


def test_kinds_describe_themselves(client: Client) -> None:
    kinds = {kind.name: kind for kind in client.jobs.kinds()}
    assert kinds["pretrain"].produces == "model"
    assert client.jobs.schema("pretrain")["properties"]["mask_ratio"]["unit"] == "fraction"
    assert client.jobs.defaults("pretrain")["mask_ratio"] == 0.75
    with pytest.raises(ApiError, match="expected one of"):
        client.jobs.schema("nonsense")
