"""What runs next: turns between owners, resources, quotas, back-off; pausing and time limits."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from services.core import attempts, jobs
from services.core.attempts import Offer
from services.core.db import Database, make_engine
from services.core.errors import Conflict
from services.core.jobs import request_cancel, request_pause, request_resume
from services.core.lifecycle import State
from services.core.scheduling import next_turn
from services.core.scope import EVERYTHING
from services.core.tables import Job
from services.core.tables.base import now
from tests.core.databases import ENGINES
from tests.core.steps import LEASE_S, WRONG_INPUT, claimed, events, later, row, running, state, submitted, swept

BROKEN = {"title": "Broken", "detail": "it broke", "reason": "code"}
engines = pytest.mark.parametrize("database_url", ENGINES, indirect=True)


def taken(database: Database, offer: Offer | None = None, per_owner: int | None = None) -> str | None:
    """Claim what a worker of this offer runs next; its name."""
    with database.session() as session:
        claim = attempts.claim_next(session, "worker", LEASE_S, offer or attempts.ANYTHING, per_owner)
    return claim.name if claim else None


def order(database: Database) -> list[str]:
    """Names of all queued jobs in the order in which one worker takes them."""
    found = []
    while name := taken(database):
        found.append(name)
    return found


def aged(database: Database, job_id: str, seconds: float) -> None:
    """Let the present attempt have started so long ago."""
    with database.session() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(attempt_started_at=now() - timedelta(seconds=seconds))
        )


@engines
def test_owners_take_turns(database: Database) -> None:
    for i in range(4):
        submitted(database, name=f"a{i}", created_by="anna")
    for i in range(2):
        submitted(database, name=f"b{i}", created_by="ben")
    assert order(database) == ["a0", "b0", "a1", "b1", "a2", "a3"]


def test_an_owner_who_was_away_has_saved_nothing_up(database: Database) -> None:
    for i in range(6):
        submitted(database, name=f"a{i}", created_by="anna")
    assert [taken(database) for _ in range(3)] == ["a0", "a1", "a2"]
    for i in range(3):
        submitted(database, name=f"b{i}", created_by="ben")
    assert order(database) == ["a3", "b0", "a4", "b1", "a5", "b2"]


def test_priority_comes_before_turns(database: Database) -> None:
    submitted(database, name="usual", created_by="anna")
    submitted(database, name="late", created_by="anna", priority=-1)
    submitted(database, name="urgent", created_by="anna", priority=5)
    assert order(database) == ["urgent", "usual", "late"]


@engines
def test_a_worker_takes_what_it_has_the_resources_for(database: Database) -> None:
    submitted(database, name="four GPUs", gpus=4)
    submitted(database, name="one GPU", gpus=1, memory_bytes=64 * 2**30)
    submitted(database, name="no GPU", gpus=0, memory_bytes=2**30)
    submitted(database, name="anywhere")
    assert [taken(database, Offer(gpus=0, memory_bytes=2**34)) for _ in range(3)] == ["no GPU", "anywhere", None]
    assert taken(database, Offer(gpus=2, memory_bytes=2**34)) is None, "too little memory"
    assert taken(database, Offer(gpus=2, memory_bytes=2**37)) == "one GPU"
    assert taken(database, Offer(gpus=4, memory_bytes=2**37)) == "four GPUs"


@engines
def test_several_machines_are_the_matter_of_workers_that_have_them(database: Database) -> None:
    submitted(database, name="five machines", nodes=5)
    submitted(database, name="two machines", nodes=2, gpus=8)
    submitted(database, name="one machine", priority=-1)
    assert [taken(database, Offer(gpus=4, nodes=4)) for _ in range(2)] == [None, None], "too few GPUs, or machines"
    assert [taken(database, Offer(gpus=8, nodes=4)) for _ in range(2)] == ["two machines", None]
    assert [taken(database, Offer(gpus=64)) for _ in range(2)] == ["one machine", None]
    assert taken(database, Offer(gpus=8, nodes=8)) == "five machines"


@engines
def test_an_owner_has_no_more_jobs_running_than_the_quota(database: Database) -> None:
    for i in range(3):
        submitted(database, name=f"a{i}", created_by="anna")
    submitted(database, name="b0", created_by="ben")
    assert [taken(database, per_owner=1) for _ in range(3)] == ["a0", "b0", None]


def test_a_failed_attempt_waits_longer_each_time(database: Database) -> None:
    job_id = submitted(database, max_attempts=4, backoff_s=60.0)
    for attempt, pause in ((1, 60), (2, 120), (3, 240)):
        claim = claimed(database, job_id)
        assert claim is not None
        with database.session() as session:
            attempts.fail(session, job_id, claim.fence, BROKEN)
        found = row(database, job_id)
        assert found.attempt == attempt
        assert found.not_before is not None
        assert (found.not_before - now()).total_seconds() == pytest.approx(pause, abs=5)
        assert taken(database) is None
        assert swept(database) == []
        assert swept(database, now() + timedelta(seconds=pause + 5)) == [job_id]


def test_lost_workers_make_no_later_pause_longer(database: Database) -> None:
    job_id = submitted(database, max_attempts=9, backoff_s=60.0)
    for _ in range(6):
        assert claimed(database, job_id) is not None
        swept(database, later())
    claim = claimed(database, job_id)
    assert claim is not None
    with database.session() as session:
        attempts.fail(session, job_id, claim.fence, BROKEN)
    found = row(database, job_id)
    assert found.not_before is not None
    assert (found.not_before - now()).total_seconds() == pytest.approx(60, abs=5), "its first failure"


def test_a_lost_worker_costs_no_waiting(database: Database) -> None:
    claim = running(database, backoff_s=3600.0)
    assert swept(database, now() + timedelta(seconds=LEASE_S + 1)) == [claim.job_id]


def test_only_the_named_reasons_are_tried_again(database: Database) -> None:
    for reason, expected in (("code", State.FAILED), ("storage", State.QUEUED)):
        claim = running(database, retry_on=("storage", "lost_worker"))
        with database.session() as session:
            assert attempts.fail(session, claim.job_id, claim.fence, BROKEN | {"reason": reason}) is expected
    claim = running(database)
    with database.session() as session:
        assert attempts.fail(session, claim.job_id, claim.fence, WRONG_INPUT) is State.FAILED


def test_waiting_and_queued_jobs_are_paused_and_resumed(database: Database) -> None:
    first = submitted(database)
    second = submitted(database, first)
    for job_id, before in ((first, State.QUEUED), (second, State.WAITING)):
        with database.session() as session:
            assert request_pause(session, EVERYTHING, job_id).state == State.PAUSED
            assert request_pause(session, EVERYTHING, job_id).state == State.PAUSED, "asking twice changes nothing"
        assert events(database, job_id) == [before, "paused"]
    assert taken(database) is None
    assert swept(database) == []
    with database.session() as session:
        assert request_resume(session, EVERYTHING, second).state == State.WAITING
        assert request_resume(session, EVERYTHING, first).state == State.QUEUED
        assert request_resume(session, EVERYTHING, first).state == State.QUEUED
    assert taken(database) == "test"


def test_a_running_job_is_ordered_to_pause(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        assert request_pause(session, EVERYTHING, claim.job_id).state == State.RUNNING
        orders = attempts.renew(session, claim.job_id, claim.fence, LEASE_S)
        assert orders is not None and orders.stop == "pause"
        attempts.release(session, claim.job_id, claim.fence, State.PAUSED, "paused by its owner")
        assert request_resume(session, EVERYTHING, claim.job_id).state == State.QUEUED
    assert events(database, claim.job_id) == ["queued", "running", "pause_requested", "paused", "queued"]
    again = claimed(database, claim.job_id)
    assert again is not None and again.attempt == 1


def test_a_pause_that_is_taken_back_in_time_queues_the_job_again(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        request_pause(session, EVERYTHING, claim.job_id)
        attempts.renew(session, claim.job_id, claim.fence, LEASE_S)
        request_resume(session, EVERYTHING, claim.job_id)
        # the trainer is already writing its last checkpoint
        assert attempts.release(session, claim.job_id, claim.fence, State.PAUSED, "paused") is State.QUEUED


def test_what_has_ended_or_is_being_cancelled_cannot_be_paused(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        request_cancel(session, EVERYTHING, claim.job_id)
    with pytest.raises(Conflict, match="is being cancelled; it cannot be paused"), database.session() as session:
        request_pause(session, EVERYTHING, claim.job_id)
    with database.session() as session:
        attempts.release(session, claim.job_id, claim.fence, State.CANCELLED, "cancelled")
    for change, word in ((request_pause, "paused"), (request_resume, "resumed")):
        with pytest.raises(Conflict, match=f"it cannot be {word}"), database.session() as session:
            change(session, EVERYTHING, claim.job_id)


def test_a_pause_comes_before_a_retry_but_not_before_the_end(database: Database) -> None:
    for most, expected in ((3, State.PAUSED), (1, State.FAILED)):
        claim = running(database, max_attempts=most)
        with database.session() as session:
            request_pause(session, EVERYTHING, claim.job_id)
            assert attempts.fail(session, claim.job_id, claim.fence, BROKEN) is expected


def test_a_job_whose_time_is_over_is_set_aside_and_goes_on_with_more(database: Database) -> None:
    claim = running(database, time_limit_s=100.0)
    aged(database, claim.job_id, 60)
    with database.session() as session:
        orders = attempts.renew(session, claim.job_id, claim.fence, LEASE_S)
        assert orders is not None and orders.stop is None
        attempts.release(session, claim.job_id, claim.fence, State.QUEUED, "shutdown")
    assert row(database, claim.job_id).ran_s == pytest.approx(60, abs=5)
    claim = claimed(database, claim.job_id)  # type: ignore[assignment]
    aged(database, claim.job_id, 60)
    with database.session() as session:
        orders = attempts.renew(session, claim.job_id, claim.fence, LEASE_S)
        assert orders is not None and orders.stop == "time_limit", "earlier attempts count"
        assert attempts.set_aside(session, claim.job_id, claim.fence) is State.PAUSED
    found = row(database, claim.job_id)
    assert found.error is not None
    assert found.error["reason"] == "time_limit"
    assert "raise time_limit_s and resume it" in found.error["detail"]
    with pytest.raises(Conflict, match="raise its time_limit_s"), database.session() as session:
        request_resume(session, EVERYTHING, claim.job_id)
    with database.session() as session:
        jobs.limit_time(session, jobs.get(session, EVERYTHING, claim.job_id), 500.0)
        assert request_resume(session, EVERYTHING, claim.job_id).state == State.QUEUED
    assert state(database, claim.job_id) is State.QUEUED


def test_a_turn_is_found_without_looking_through_the_queue(sqlite_template: Path) -> None:
    """However many jobs are queued: each number is the first entry of an index."""
    plans: list[str] = []
    engine = make_engine(f"sqlite:///{sqlite_template}")

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "jobs.turn" in statement and not statement.startswith("EXPLAIN"):
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall())

    event.listen(engine, "before_cursor_execute", explain)
    with Session(engine) as session:
        assert next_turn(session, "ada", 3) == 0
    engine.dispose()
    searches = [plan for plan in plans if plan.startswith("SEARCH")]
    assert sum("ix_jobs_queue (state=? AND rank=?)" in plan for plan in searches) == 1, plans
    assert sum("ix_jobs_owner (created_by=? AND state=?)" in plan for plan in searches) == 2, plans
    assert not any("TEMP B-TREE" in plan for plan in plans)
