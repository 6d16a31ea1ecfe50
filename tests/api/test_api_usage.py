"""What is used of quotas, storage and disk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medcoss.client import Client
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Dataset, Job, JobArtifact
from tests.api.calls import prepared, problem, trained
from tests.api.serving import KEYS, Role, Served


def job(job_id: str, state: str, owner: str, project: str, parent: str | None = None) -> Job:
    return Job(id=job_id, kind="pretrain", name="j", state=state, spec={}, priority=0, max_attempts=1, created_by=owner,
               project_id=project, parent_id=parent)  # fmt: skip


def use(served: Served, answer: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {each["owner"]: (each["running"], each["waiting"]) for each in answer["owners"]}


def test_usage_counts_as_the_quotas_do_and_adds_up_what_is_stored(
    serve: Callable[[Settings], Served], settings: Settings, tmp_path: Path
) -> None:
    served = serve(settings.model_copy(update={"quota_running": 2, "quota_queued": 5, "storage_dir": tmp_path}))
    north = served.admin.post("/v1/projects", json={"name": "north"}).json()["id"]
    owner = served.operator.get("/v1/me").json()["owner"]
    prepared(served.database, "ds_usage00000")
    trained(served.database, None, "mdl_usage0000", recipe={"name": "image_folder"})
    with served.database.session() as session:
        session.get_one(Dataset, "ds_usage00000").total_bytes = 2**40
        for each in (
            job("job_whole", "waiting", owner, DEFAULT_PROJECT), job("job_running", "running", owner, DEFAULT_PROJECT),
            job("job_child1", "running", owner, DEFAULT_PROJECT, "job_whole"),
            job("job_child2", "queued", owner, DEFAULT_PROJECT, "job_whole"),
            job("job_over", "succeeded", owner, DEFAULT_PROJECT), job("job_other", "paused", "bo", north),
        ):  # fmt: skip
            session.add(each)
        session.flush()
        session.add(JobArtifact(job_id="job_over", name="a.png", key="k", content_type="image/png", size=700))

    mine = served.operator.get("/v1/usage").json()
    assert (mine["quota_running"], mine["quota_queued"]) == (2, 5)
    # a job and its child jobs wait as one, and each child job that runs has a worker
    assert use(served, mine) == {owner: (2, 1)}
    (project,) = mine["projects"]
    assert (project["project"], project["running"], project["waiting"]) == ("default", 2, 1)
    assert project["datasets"] == {"number": 1, "bytes": 2**40} and project["artifacts"] == {"number": 1, "bytes": 700}
    assert project["models"]["number"] == 1
    assert project["total_bytes"] == 2**40 + 700 + project["models"]["bytes"]
    assert mine["disk"]["total_bytes"] == shutil.disk_usage(tmp_path).total >= mine["disk"]["free_bytes"] > 0

    # an administrator sees all owners and projects, and asks for one
    everything = served.admin.get("/v1/usage").json()
    assert use(served, everything) == {"bo": (0, 1), owner: (2, 1)}
    assert [each["project"] for each in everything["projects"]] == ["default", "north"]
    with Client(served.url, KEYS[Role.ADMIN]) as client:
        (only,) = client.usage("north").projects
    assert (only.waiting, only.datasets.number, only.total_bytes) == (1, 0, 0)
    assert "north" in problem(served.operator.get("/v1/usage", params={"project": "north"}), 422)["detail"]


def test_a_disk_that_is_not_seen_is_told_as_such(served: Served) -> None:
    found = served.viewer.get("/v1/usage").json()
    assert found["disk"] is None and found["quota_running"] is None
