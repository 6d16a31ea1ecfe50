"""A worker tells that it lives, what it offers and what it does."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from services.core import workers
from services.core.db import Database
from services.core.settings import Settings
from services.core.tables import Worker
from services.core.tables.base import now
from services.worker import gpus
from services.worker.heart import Heart
from services.worker.offer import devices
from services.worker.supervisor import Supervisor
from tests.worker.work import scripted, until, working


def only(database: Database) -> Worker | None:
    with database.reading() as session:
        return next(iter(workers.known(session)), None)


def test_it_beats_while_idle_while_it_runs_and_while_it_drains(
    database: Database, supervisor: Supervisor, shutting_down: threading.Event, script: Callable[..., None],
    tmp_path: Path,
) -> None:  # fmt: skip
    script(f"wait_for({str(tmp_path / 'go')!r})")
    heart = Heart(supervisor, ["jobs"], every_s=0.05)
    heart.start()
    idle = until(lambda: only(database), what="a first beat")
    assert (idle.name, idle.state, idle.job_id, idle.queues) == (supervisor.worker, "idle", None, ["jobs"])
    assert idle.memory_bytes and idle.cpus and idle.gpus == supervisor.offer.gpus
    until(lambda: (found := only(database)) and found.seen_at > idle.seen_at, what="a beat while it is idle")
    job_id = scripted(database)
    with working(supervisor):
        found = until(lambda: (w := only(database)) and w.state == "running" and w)
        assert found.job_id == job_id
        shutting_down.set()
        until(lambda: (w := only(database)) and w.state == "draining")
        (tmp_path / "go").touch()
    until(lambda: (w := only(database)) and w.job_id is None)
    heart.stop()
    found = only(database)
    assert found is not None and found.state == "gone"
    with database.reading() as session:
        assert workers.alive(session, now()) == []


def test_what_begins_and_ends_is_told_at_once(
    database: Database, supervisor: Supervisor, script: Callable[..., None], tmp_path: Path
) -> None:
    script(f"wait_for({str(tmp_path / 'go')!r})")
    heart = Heart(supervisor, ["jobs"], every_s=600)
    heart.start()
    until(lambda: only(database), what="a first beat")
    job_id = scripted(database)
    with working(supervisor):
        until(lambda: (w := only(database)) and w.job_id == job_id, what="its job")
        (tmp_path / "go").touch()
    until(lambda: (w := only(database)) and w.state == "idle", what="its end")
    heart.stop()


def test_the_offered_gpus_are_those_that_are_visible(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5,-1")
    assert devices(settings) == ["3", "GPU-5"]
    assert devices(settings.model_copy(update={"worker_gpus": 1})) == ["3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(settings) == []


class Nvml(SimpleNamespace):
    """What NVIDIA's library answers for two GPUs, of which the second is a slice that tells no utilisation."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):  # noqa: N801 - its name
        pass

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise self.NVMLError("not found")
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:
        return name

    def nvmlDeviceGetMemoryInfo(self, handle: object) -> SimpleNamespace:
        return SimpleNamespace(total=80 if handle == 0 else 40, used=10)

    def nvmlDeviceGetName(self, handle: object) -> str:
        return "NVIDIA H100"

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> SimpleNamespace:
        if isinstance(handle, str):
            raise self.NVMLError_NotSupported
        return SimpleNamespace(gpu=50)


def test_gpus_are_described_as_far_as_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())  # type: ignore[arg-type]
    assert gpus.look(["0", "1"]) == gpus.Gpus("NVIDIA H100", 40, 0.5, 20)
    assert gpus.look(["MIG-1"]) == gpus.Gpus("NVIDIA H100", 40, None, 10)
    assert gpus.look(["7"]) == gpus.look([]) == gpus.Gpus()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpus.look(["0"]) == gpus.Gpus(), "the library is optional"
