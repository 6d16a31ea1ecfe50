"""The Celery application as it is deployed: the bell, the sweeper, and a shutdown in the middle of a job."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

from medcoss.client import verify
from services.core import attempts, jobs, webhooks, workers
from services.core.db import Database
from services.core.garbage import runs
from services.core.garbage.runs import Asked
from services.core.jobs import NewJob
from services.core.scope import EVERYTHING
from services.core.sealing import Seal
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT, Worker
from services.core.tables.base import now
from services.embedded.servers import free_port
from services.worker import app
from services.worker.process import environment
from tests.worker.hooks import Hooks, hooks
from tests.worker.work import class_folders, events, png, raw_dataset, row, submitted, until


def alive_workers(database: Database) -> Sequence[Worker]:
    with database.reading() as session:
        return workers.alive(session, now())


__all__ = ["hooks"]


@pytest.fixture
def celery(world: Settings, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with its sweeper."""
    variables = environment(world) | {
        "MEDCOSS_DATABASE_URL": world.database_url,
        # a database of this Redis that no other test rings in
        "MEDCOSS_REDIS_URL": world.redis_url.rsplit("/", 1)[0] + "/7",
        "MEDCOSS_WEBHOOK_NETWORKS": '["127.0.0.0/8"]',
    }
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "-A", "services.worker.app", "worker", "-B", "-Q", "jobs,control",
                "--pool=threads", "--concurrency=2", "-n", f"{uuid.uuid4().hex}@test", "-s", str(tmp_path / "beat"),
                "--without-gossip", "--without-mingle",
            ],
            env=os.environ | variables, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    yield process
    # with its beat, which is a process of its own
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_jobs_run_without_a_ring_and_survive_a_shutdown(
    world: Settings, world_database: Database, celery: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Nobody rings: the sweeper does. SIGTERM puts the job that runs back into the queue."""
    raw_dataset(world, world_database, class_folders(4))
    with world_database.session() as session:
        collection = runs.start(session, Asked(True, 3600, None, 1.0), "ada").id
    lost = submitted(world_database)
    with world_database.session() as session:
        assert attempts.claim(session, lost, "a worker that is dead", -1) is not None
    large = raw_dataset(world, world_database, {f"{n:03d}.png": png(n) for n in range(500)}, "ds_large0000000")
    spec = {"dataset": large, "recipe": {"name": "image_folder", "size": [1024, 1024]}}
    slow = submitted(world_database, spec=spec)
    until(lambda: row(world_database, lost).state == "succeeded", what="the sweeper, the bell and the job")
    assert row(world_database, lost).attempt == 2
    assert events(world_database, lost)[2:4] == ["attempt_failed", "queued"]
    with world_database.reading() as session:
        assert runs.get(session, collection).state == "succeeded", "the sweeper collects garbage, too"
    until(lambda: (row(world_database, slow).done or 0) > 0, what="progress")
    (known,) = until(lambda: alive_workers(world_database), what="the worker to tell of itself")
    until(lambda: alive_workers(world_database)[0].job_id == slow, seconds=15, what="its job")
    family = psutil.Process(celery.pid).children(recursive=True)
    celery.send_signal(signal.SIGTERM)
    log = (tmp_path / "worker.log").read_text
    assert celery.wait(20) == 0, log()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    job = row(world_database, slow)
    assert (job.state, job.attempt, job.error) == ("queued", 0, None), log()
    assert "Traceback" not in log()
    assert job.lease_until is None and job.created_at < now()
    assert known.queues == ["jobs"] and alive_workers(world_database) == [], "it has said good-bye"


def test_a_sweep_without_a_database_is_left_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    monkeypatch.setattr(app, "_database", lambda: nobody)
    with capture_logs() as lines:
        app.sweep()
    assert [(line["event"], line["error"]) for line in lines] == [("database_failed", "OperationalError")]


def test_webhooks_are_told_by_the_beat(
    world: Settings, world_database: Database, celery: subprocess.Popen[bytes], hooks: Hooks
) -> None:
    with world_database.session() as session:
        _, secret = webhooks.create(session, Seal(world), DEFAULT_PROJECT, hooks.url, ["job.cancelled"], "", "ada")
        # waiting, so that no worker takes it
        first = jobs.submit(session, NewJob("preprocess", {}, "first", 1), created_by="test")
        job_id = jobs.submit(
            session, NewJob("preprocess", {}, "second", 1, depends_on=(first.id,)), created_by="test"
        ).id
        jobs.request_cancel(session, EVERYTHING, job_id)
        jobs.request_cancel(session, EVERYTHING, first.id)
    until(lambda: len(hooks.requests) == 2, what="both messages")
    assert [verify(secret, *one).data["job_id"] for one in hooks.requests] == [job_id, first.id]
