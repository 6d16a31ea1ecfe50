"""What the database knows of the platform, for metrics."""

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from services.core import attempts
from services.core.db import Database
from services.core.figures import figures
from services.core.tables import JobEvent, Leftover, Worker
from services.core.tables.base import now
from tests.core.databases import engines
from tests.core.steps import WRONG_INPUT, running, submitted


@engines
def test_the_figures_of_a_platform(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    submitted(database, gpus=2)
    submitted(database, first)
    claim = running(database, priority=9)
    broken = running(database, priority=9)
    moment = now()
    with database.session() as session:
        session.execute(update(JobEvent).where(JobEvent.job_id == second).values(at=moment - timedelta(seconds=90)))
        attempts.record_rows(session, claim.job_id, claim.fence, metrics=[(1, {"loss": 2.0})])
        attempts.record_rows(session, claim.job_id, claim.fence, metrics=[(2, {"samples_per_s": 12.5})])
        attempts.fail(session, broken.job_id, broken.fence, WRONG_INPUT)
        session.add(Leftover(prefix="models/x/", remove_at=moment - timedelta(seconds=60)))
        session.add(Leftover(prefix="models/y/", remove_at=moment + timedelta(seconds=60)))
    with database.reading() as session:
        found = figures(session, moment)
    assert {state: count for state, count in found.jobs.items() if count} == {
        "waiting": 1, "queued": 3, "running": 1, "failed": 1,
    }  # fmt: skip
    assert found.queued == {"cpu": 2, "gpu": 1}
    assert found.oldest_s["cpu"] == pytest.approx(90, abs=1)
    assert 0 <= found.oldest_s["gpu"] < 10
    assert found.failures == {"data": 1}
    assert found.samples_per_s == {"preprocess": 12.5}
    assert (found.leftovers, round(found.leftover_s)) == (1, 60)
    assert found.workers == []


@engines
def test_workers_that_live(database: Database) -> None:
    moment = now()
    machine = {"host": "h", "pid": 1, "version": "1", "queues": ["jobs"], "cpus": 2, "started_at": moment}
    with database.session() as session:
        lately = moment - timedelta(seconds=9)
        session.add(Worker(name="a", gpus=2, gpu_utilisation=0.5, state="running", seen_at=lately, **machine))
        session.add(Worker(name="b", gpus=0, state="idle", seen_at=moment - timedelta(seconds=99), **machine))
        session.add(Worker(name="c", gpus=0, state="gone", seen_at=moment, **machine))
    with database.reading() as session:
        (worker,) = figures(session, moment).workers
    assert (worker.name, worker.state, worker.gpus, worker.gpu_utilisation) == ("a", "running", 2, 0.5)
    assert worker.silent_s == pytest.approx(9, abs=0.1)


@engines
def test_a_job_that_is_queued_again_waits_from_then_on(database: Database) -> None:
    """An age since its submission would call every job of a pipeline late."""
    claim = running(database)
    with database.session() as session:
        session.execute(update(JobEvent).values(at=now() - timedelta(days=1)))
        attempts.fail(session, claim.job_id, claim.fence, WRONG_INPUT | {"reason": "code"})
    with database.reading() as session:
        found = figures(session, now())
    assert found.queued["cpu"] == 1
    assert found.oldest_s["cpu"] < 60


@engines
def test_failures_are_counted_from_their_index(database: Database) -> None:
    from services.core.figures import _FAILURES

    condition = str((JobEvent.type == _FAILURES).compile())
    explain = "EXPLAIN QUERY PLAN " if database.engine.dialect.name == "sqlite" else "EXPLAIN "
    with database.session() as session:
        if explain == "EXPLAIN ":
            session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = session.execute(text(f"{explain} SELECT data FROM job_events WHERE {condition}")).all()
    assert "ix_job_events_failures" in str(plan)
