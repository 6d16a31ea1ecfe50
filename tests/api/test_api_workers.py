"""Who is there to run jobs, as the API tells it."""

from datetime import timedelta

from services.core.workers import SILENT, WorkerState
from tests.api.calls import preprocess, problem, uploaded
from tests.api.serving import Served
from tests.core.test_core_workers import beat, heard, silent_since


def test_all_who_read_see_the_workers(served: Served) -> None:
    heard(served.database, beat("b", gpus=2, gpu_model="NVIDIA H100", gpu_memory_bytes=85 * 10**9), beat("a"))
    silent_since(served.database, "a", SILENT + timedelta(seconds=1))
    found = served.viewer.get("/v1/workers").json()["items"]
    assert [(w["name"], w["state"], w["gpus"], w["gpu_model"]) for w in found] == [
        ("a", "gone", 0, None), ("b", "idle", 2, "NVIDIA H100"),
    ]  # fmt: skip
    assert [w["name"] for w in served.viewer.get("/v1/workers?state=gone").json()["items"]] == ["a"]
    problem(served.viewer.get("/v1/workers?state=asleep"), 422)
    problem(served.stranger.get("/v1/workers"), 401)


def test_jobs_of_other_projects_stay_unnamed(served: Served) -> None:
    raw = uploaded(served.operator, {"a.png": b"x"})
    job_id = preprocess(served.operator, raw).json()["id"]
    heard(served.database, beat("a", state=WorkerState.RUNNING, job_id=job_id))
    other = served.admin.post("/v1/projects", json={"name": "other"}).json()["id"]
    key = served.admin.post("/v1/keys", json={"name": "k", "role": "viewer", "projects": [other]}).json()["secret"]

    def job(headers: dict[str, str] | None = None) -> str | None:
        (worker,) = served.viewer.get("/v1/workers", headers=headers).json()["items"]
        assert worker["state"] == "running"
        found: str | None = worker["job_id"]
        return found

    assert job() == job_id
    assert job({"Authorization": f"Bearer {key}"}) is None
