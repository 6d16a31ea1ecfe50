"""What the database knows of the platform, for metrics."""

from datetime import timedelta

import pytest
from sqlalchemy import text, update

from services.core import attempts
from services.core.db import Database
from services.core.figures import Waiting, figures
from services.core.tables import DEFAULT_PROJECT, Delivery, JobEvent, Leftover, Webhook, Worker
from services.core.tables.base import now
from tests.core.databases import engines
from tests.core.steps import WRONG_INPUT, claimed, later, running, submitted, swept


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
    assert found.queued == {"cpu": 2, "gpu": 1, "machines": 0}
    assert found.oldest_s["cpu"] == pytest.approx(90, abs=1)
    assert 0 <= found.oldest_s["gpu"] < 10
    assert {reason: count for reason, count in found.failures.items() if count} == {"data": 1}
    assert found.trainings["preprocess"].samples_per_s == 12.5
    assert 0 <= found.trainings["preprocess"].silent_s < 10
    assert (found.leftovers.number, round(found.leftovers.oldest_s)) == (1, 60)
    assert (found.messages, found.disabled, found.expired) == (Waiting(0, 0.0), 0, 0)
    assert found.workers == []


@engines
def test_a_class_waits_behind_any_number_of_the_other(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.core.figures.LOOKED_AT", 2)
    for _ in range(3):
        submitted(database)
    waiting = submitted(database, gpus=1)
    with database.session() as session:
        session.execute(update(JobEvent).where(JobEvent.job_id == waiting).values(at=now() - timedelta(seconds=70)))
    with database.reading() as session:
        assert figures(session, now()).oldest_s["gpu"] == pytest.approx(70, abs=5)


@engines
def test_a_training_that_says_nothing(database: Database) -> None:
    """What an attempt before has told is not the pace of this one."""
    claim = running(database)
    with database.session() as session:
        attempts.record_rows(session, claim.job_id, claim.fence, metrics=[(1, {"samples_per_s": 9.0})])
    with database.reading() as session:
        found = figures(session, now() + timedelta(minutes=40))
    assert found.trainings["preprocess"].silent_s == pytest.approx(2400, abs=5)
    assert found.expired == 1, "and nobody has swept"
    swept(database, later())
    assert claimed(database, claim.job_id) is not None
    with database.reading() as session:
        found = figures(session, now())
    assert (found.trainings, found.expired) == ({}, 0)


@engines
def test_messages_to_webhooks_that_wait(database: Database) -> None:
    moment = now()
    common = {"project_id": DEFAULT_PROJECT, "topics": ["job.queued"], "secret": "s", "created_by": "ada"}
    with database.session() as session:
        session.add(Webhook(id="whk_on", url="https://on", **common))
        session.add(Webhook(id="whk_off", url="https://off", active=False, disabled_reason="gone", **common))
        for number, (hook, state, age_s) in enumerate(
            [
                ("whk_on", "pending", 90),
                ("whk_on", "pending", -90),
                ("whk_on", "failed", 900),
                ("whk_off", "pending", 900),
            ]
        ):
            session.add(
                Delivery(id=f"msg_{number}", webhook_id=hook, topic="job.queued", payload={}, state=state,
                         next_at=moment - timedelta(seconds=age_s))
            )  # fmt: skip
    with database.reading() as session:
        found = figures(session, moment)
    assert (found.messages.number, round(found.messages.oldest_s), found.disabled) == (1, 90, 1)


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
