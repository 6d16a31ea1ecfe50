"""`medcoss workers` and `medcoss usage`."""

from collections.abc import Callable

from medcoss.client import Client
from services.core.workers import WorkerState
from tests.cli.conftest import Done
from tests.core.test_core_workers import beat, heard
from tests.medcoss.client.control_plane import ControlPlane


def test_workers_are_listed_with_what_they_offer_and_do(
    medcoss: Callable[..., Done], plane: ControlPlane, client: Client
) -> None:
    database = plane.database
    heard(
        database,
        beat("ward-1:7", gpus=2, gpu_model="NVIDIA H100", gpu_utilisation=0.5, gpu_memory_used_bytes=2**30),
        beat("ward-2:9", state=WorkerState.DRAINING),
    )
    database.engine.dispose()
    shown = medcoss("workers")
    assert shown.code == 0, shown.err
    text = " ".join(shown.out.split())
    assert "ward-1:7" in text and "2 NVIDIA" in text and "busy" in text and "none" in text
    draining = [w["name"] for w in medcoss("workers", "--state", "draining", "--json").json]
    assert [name for name in draining if name.startswith("ward-")] == ["ward-2:9"]
    idle = [(w.name, w.gpus, w.memory_bytes) for w in client.workers.list(state="idle")]
    assert [each for each in idle if each[0].startswith("ward-")] == [("ward-1:7", 2, 2**34)]


def test_usage_tells_projects_owners_and_limits(medcoss: Callable[..., Done]) -> None:
    shown = medcoss("usage", "--project", "default")
    assert shown.code == 0 and "default" in shown.out and "any number of jobs run" in " ".join(shown.out.split()), (
        shown.err
    )
    assert [each["project"] for each in medcoss("usage", "--json").json["projects"]][:1] == ["default"]
