"""The supervisor and a database that is locked, away, or refuses what a job has made."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

import services.core.db
from services.core.db import Database
from services.core.scheduling import Ring
from services.core.settings import Settings
from services.core.sweep import sweep
from services.core.tables import Dataset, JobEvent
from services.worker.supervisor import Supervisor
from tests.core.steps import later
from tests.worker.scripts import RESULT
from tests.worker.work import child_of, logs, row, scripted, until, working

Script = Callable[..., None]


def test_an_input_that_was_deleted_is_named(supervisor: Supervisor, database: Database) -> None:
    job_id = scripted(database)
    with database.session() as session:
        session.delete(session.get_one(Dataset, "ds_raw0000000"))
    supervisor.run_next()
    job = row(database, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert (job.error["reason"], job.error["detail"]) == (
        "data", "there is no dataset ds_raw0000000; it has been deleted",
    )  # fmt: skip


def locked_for(database: Database, seconds: float) -> threading.Thread:
    """Hold SQLite's write lock for a while."""
    held = threading.Event()

    def hold() -> None:
        with database.session() as session:
            session.execute(text("UPDATE jobs SET priority = priority"))
            held.set()
            threading.Event().wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(20)
    return thread


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch, quick: Settings) -> Any:
    """A worker whose database gives up at once, and a lease of two seconds."""
    monkeypatch.setattr(services.core.db, "BUSY_TIMEOUT_S", 0.1)
    made = Supervisor(quick.model_copy(update={"lease_s": 2.0}), threading.Event())
    yield made
    made.database.engine.dispose()


def test_a_database_that_is_locked_for_a_moment(
    hasty: Supervisor, script: Script, database: Database, tmp_path: Path
) -> None:
    script(f"send('log', level='info', message='ready')\nwait_for({str(tmp_path / 'go')!r})\n" + RESULT)
    job_id = scripted(database)
    with working(hasty):
        until(lambda: "ready" in logs(database, job_id))
        first = locked_for(database, 0.7)
        first.join()
        second = locked_for(database, 0.7)
        # the end of the attempt comes while it is locked
        (tmp_path / "go").touch()
        second.join()
    assert row(database, job_id).state == "succeeded"


def test_a_database_that_is_away_longer_than_the_lease(hasty: Supervisor, script: Script, database: Database) -> None:
    script("send('log', level='info', message='ready')\ntime.sleep(60)\n" + RESULT)
    job_id = scripted(database)
    with working(hasty):
        until(lambda: "ready" in logs(database, job_id))
        child = child_of(job_id)
        lock = locked_for(database, 4)
        until(lambda: not child or not child.is_running(), 4, "the end of the process")
    lock.join()
    assert row(database, job_id).state == "running", "nobody has told the database yet"
    with database.session() as session:
        assert sweep(session, later()) == [Ring(job_id)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_connections_that_are_cut(supervisor: Supervisor, script: Script, database: Database, tmp_path: Path) -> None:
    script(f"send('log', level='info', message='ready')\nwait_for({str(tmp_path / 'go')!r})\n" + RESULT)
    job_id = scripted(database)
    with working(supervisor):
        until(lambda: "ready" in logs(database, job_id))
        for _ in range(3):
            with database.session() as session:
                session.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
            before = row(database, job_id).lease_until
            assert before is not None
            assert until(lambda: (lease := row(database, job_id).lease_until) and lease > before)  # noqa: B023
        (tmp_path / "go").touch()
    assert row(database, job_id).state == "succeeded"


def test_what_the_registry_refuses_is_a_failure_that_says_so(
    supervisor: Supervisor, script: Script, database: Database
) -> None:
    script(RESULT.replace('"id": job["output_id"]', '"id": "ds_raw0000000"'))
    job_id = scripted(database, max_attempts=1)
    supervisor.run_next()
    job = row(database, job_id)
    assert job.state == "failed"
    assert job.error is not None and "could not be registered" in job.error["detail"]
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Dataset)) == 1
        assert session.scalars(select(JobEvent.type).where(JobEvent.type == "succeeded")).all() == []
