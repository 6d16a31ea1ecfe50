"""The sweeper: mends what time has broken, and a second round finds nothing to do."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from services.core import attempts
from services.core.db import Database
from services.core.errors import Conflict, NotFound
from services.core.jobs import request_cancel
from services.core.lifecycle import State
from services.core.scope import EVERYTHING
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile, Leftover
from services.core.tables.base import now
from tests.core.databases import engines
from tests.core.steps import LEASE_S, WRONG_INPUT, claimed, events, later, row, running, state, submitted, swept

PROBLEM = {"title": "Broken", "detail": "it broke", "reason": "code"}


def ended(database: Database, job_id: str, how: State) -> None:
    claim = claimed(database, job_id)
    assert claim is not None
    with database.session() as session:
        if how is State.SUCCEEDED:
            attempts.succeed(session, job_id, claim.fence, {})
        elif how is State.FAILED:
            attempts.fail(session, job_id, claim.fence, WRONG_INPUT)
        else:
            attempts.release(session, job_id, claim.fence, how, "asked")


@engines
def test_a_lost_worker_gives_its_job_back(database: Database) -> None:
    claim = running(database)
    assert swept(database) == [], "its lease has not run out"
    assert state(database, claim.job_id) is State.RUNNING
    assert swept(database, later()) == [claim.job_id]
    job = row(database, claim.job_id)
    assert (job.state, job.worker, job.lease_until) == ("queued", None, None)
    assert job.error is not None and job.error["reason"] == "lost_worker"
    assert events(database, claim.job_id) == ["queued", "running", "attempt_failed", "queued"]


@engines
def test_a_second_round_changes_nothing(database: Database) -> None:
    lost = running(database)
    upstream = submitted(database)
    chain = [submitted(database, upstream)]
    chain.append(submitted(database, chain[0]))
    ended(database, upstream, State.FAILED)
    moment = later()
    first = swept(database, moment)
    seen = {job_id: events(database, job_id) for job_id in (lost.job_id, upstream, *chain)}
    assert swept(database, moment) == first
    assert {job_id: events(database, job_id) for job_id in seen} == seen


@engines
def test_out_of_attempts_is_a_failure(database: Database) -> None:
    claim = running(database, max_attempts=1)
    assert swept(database, later()) == []
    job = row(database, claim.job_id)
    assert job.state == "failed"
    assert job.error is not None and "fell silent" in job.error["detail"]


@engines
def test_a_renewed_lease_is_left_alone(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        assert attempts.renew(session, claim.job_id, claim.fence, 10 * LEASE_S)
    swept(database, later())
    assert state(database, claim.job_id) is State.RUNNING


@engines
@pytest.mark.parametrize("how", [State.SUCCEEDED, State.FAILED, State.CANCELLED])
def test_dependants_follow(database: Database, how: State) -> None:
    one, two = submitted(database), submitted(database)
    waiting = submitted(database, one, two)
    behind = submitted(database, waiting)
    assert state(database, waiting) is State.WAITING
    assert claimed(database, waiting) is None
    ended(database, one, State.SUCCEEDED)
    swept(database)
    assert state(database, waiting) is State.WAITING, "one of two is not enough"
    ended(database, two, how)
    queued = swept(database)
    if how is State.SUCCEEDED:
        assert queued == [waiting]
        assert state(database, behind) is State.WAITING
    else:
        assert queued == []
        for job_id, cause in ((waiting, two), (behind, waiting)):
            job = row(database, job_id)
            assert job.state == "failed", "the whole chain fails at once"
            assert job.error is not None and cause in job.error["detail"]


def test_a_job_cannot_wait_for_one_that_has_failed_or_is_unknown(database: Database) -> None:
    lost = submitted(database)
    ended(database, lost, State.FAILED)
    with pytest.raises(Conflict, match=lost):
        submitted(database, lost)
    with pytest.raises(NotFound, match="job_unknown"):
        submitted(database, "job_unknown")
    done = submitted(database)
    ended(database, done, State.SUCCEEDED)
    assert state(database, submitted(database, done)) is State.QUEUED, "nothing left to wait for"


@engines
@pytest.mark.parametrize("end", ["swept", "failed", "shutdown"])
def test_a_cancellation_outlives_the_attempt(database: Database, end: str) -> None:
    """A worker that dies or is shut down before it has seen the order must not bring the job back."""
    claim = running(database)
    with database.session() as session:
        assert request_cancel(session, EVERYTHING, claim.job_id).stop_order == "cancel"
    assert state(database, claim.job_id) is State.RUNNING
    if end == "swept":
        assert swept(database, later()) == []
    else:
        with database.session() as session:
            if end == "failed":
                attempts.fail(session, claim.job_id, claim.fence, PROBLEM)
            else:
                attempts.release(session, claim.job_id, claim.fence, State.QUEUED, "shutdown")
    job = row(database, claim.job_id)
    assert job.state == "cancelled"
    assert job.finished_at is not None
    with pytest.raises(Conflict, match="already been cancelled"), database.session() as session:
        request_cancel(session, EVERYTHING, claim.job_id)


def test_orders_reach_the_worker_with_its_lease_once(database: Database) -> None:
    claim = running(database)
    for _ in range(2):
        with database.session() as session:
            request_cancel(session, EVERYTHING, claim.job_id)
        with database.session() as session:
            assert attempts.renew(session, claim.job_id, claim.fence, LEASE_S) == attempts.Orders("cancel")
    assert events(database, claim.job_id).count("cancel_requested") == 1


@pytest.mark.parametrize("before", ["queued", "waiting"])
def test_what_does_not_run_is_cancelled_at_once(database: Database, before: str) -> None:
    first = submitted(database)
    job_id = submitted(database, first) if before == "waiting" else first
    with database.session() as session:
        assert request_cancel(session, EVERYTHING, job_id).state == "cancelled"
    assert claimed(database, job_id) is None


def announced(database: Database, dataset_id: str, expires_in_s: float | None) -> None:
    with database.session() as session:
        session.add(
            Dataset(
                id=dataset_id, name="raw", role="raw", state="uploading" if expires_in_s else "ready", parents=[],
                prefix=f"datasets/{dataset_id}/raw", project_id=DEFAULT_PROJECT,
                expires_at=now() + timedelta(seconds=expires_in_s) if expires_in_s else None,
                files=[DatasetFile(path="a.png", size=1, sha256="0" * 64)],
            )
        )  # fmt: skip


@engines
def test_uploads_that_never_came_are_forgotten_and_their_objects_marked(database: Database) -> None:
    announced(database, "ds_expired", 10)
    announced(database, "ds_underway", 1000)
    announced(database, "ds_ready", None)
    swept(database, later(11))
    with database.reading() as session:
        assert set(session.scalars(select(Dataset.id))) == {"ds_underway", "ds_ready"}
        assert session.scalar(select(func.count()).select_from(DatasetFile)) == 2
        assert list(session.scalars(select(Leftover.prefix))) == ["datasets/ds_expired/raw/"]


@engines
def test_two_sweepers_at_once(database: Database, database_url: str, open_database: Callable[[str], Database]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    claims = [running(database) for _ in range(6)]
    sweepers = [database, open_database(database_url), open_database(database_url)]
    moment = later()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda each: swept(each, moment), sweepers))
    for claim in claims:
        assert events(database, claim.job_id) == ["queued", "running", "attempt_failed", "queued"]
