"""One worker wins a claim; whoever has lost its lease changes nothing and publishes nothing."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.core import attempts
from services.core.attempts import Artifact, Claim
from services.core.db import Database
from services.core.jobs import request_pause
from services.core.lifecycle import State
from services.core.scope import EVERYTHING
from services.core.tables import JobArtifact, JobEvent, JobLog, JobMetric
from tests.core.databases import engines
from tests.core.steps import LEASE_S, WRONG_INPUT, claimed, events, later, row, running, state, submitted, swept

PROBLEM = {"title": "Broken", "detail": "it broke", "reason": "code"}

RACER = """
import sys
from services.core import attempts
from services.core.db import Database
database = Database(sys.argv[1])
sys.stdin.readline()
while True:
    with database.session() as session:
        claim = attempts.claim_next(session, "racer", 30)
    if claim is None:
        break
    print(claim.job_id, flush=True)
"""


@engines
def test_one_of_many_threads_wins(database: Database) -> None:
    job_id = submitted(database)
    barrier, winners = threading.Barrier(12), []

    def race() -> None:
        barrier.wait()
        if claimed(database, job_id):
            winners.append(threading.get_ident())

    threads = [threading.Thread(target=race) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert (row(database, job_id).attempt, row(database, job_id).fence) == (1, 1)


@engines
def test_processes_share_the_queue_and_no_job_runs_twice(database: Database, database_url: str) -> None:
    expected = {submitted(database) for _ in range(20)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    for racer in racers:
        outputs += racer.communicate(timeout=60)[0].split()
        assert racer.returncode == 0
    assert Counter(outputs) == Counter(expected)


def test_the_most_urgent_goes_first_then_the_oldest(database: Database) -> None:
    first, second = submitted(database), submitted(database)
    urgent = submitted(database, priority=5)
    order = []
    while True:
        with database.session() as session:
            claim = attempts.claim_next(session, "worker", LEASE_S)
        if claim is None:
            break
        order.append(claim.job_id)
    assert order == [urgent, first, second]


@pytest.mark.parametrize("state_before", ["waiting", "running", "succeeded", "cancelled"])
def test_only_queued_jobs_can_be_claimed(database: Database, state_before: str) -> None:
    claim = running(database)
    job_id = claim.job_id
    with database.session() as session:
        if state_before == "succeeded":
            attempts.succeed(session, job_id, claim.fence, {})
        elif state_before == "cancelled":
            attempts.release(session, job_id, claim.fence, State.CANCELLED, "asked")
    if state_before == "waiting":
        job_id = submitted(database, job_id)
    assert claimed(database, job_id) is None
    assert state(database, job_id) == state_before


def _forbidden(_: Session) -> None:
    raise AssertionError("published without a lease")


ZOMBIE: dict[str, tuple[Callable[[Session, Claim], Any], Any]] = {
    "renew": (lambda s, c: attempts.renew(s, c.job_id, c.fence, LEASE_S), None),
    "lock": (lambda s, c: attempts.lock(s, c.job_id, c.fence), None),
    "progress": (
        lambda s, c: attempts.record_progress(s, c.job_id, c.fence, done=7, total=9, message="zombie", eta_s=1.0), False
    ),
    "rows": (
        lambda s, c: attempts.record_rows(
            s, c.job_id, c.fence, metrics=[(1, {"loss": 0.5})], logs=[("info", "zombie")],
            artifacts=[Artifact("a.png", "jobs/x/a.png", "image/png", 3)],
        ),
        False,
    ),
    "succeed": (lambda s, c: attempts.succeed(s, c.job_id, c.fence, {"outputs": {}}, _forbidden), False),
    "fail": (lambda s, c: attempts.fail(s, c.job_id, c.fence, PROBLEM), None),
    "fail for good": (lambda s, c: attempts.fail(s, c.job_id, c.fence, WRONG_INPUT), None),
    "release": (lambda s, c: attempts.release(s, c.job_id, c.fence, State.QUEUED, "shutdown"), None),
}  # fmt: skip


def everything(database: Database, job_id: str) -> tuple[Any, ...]:
    """All that is stored of a job, but for when its lease ends."""
    job = row(database, job_id)
    columns = {c.key: getattr(job, c.key) for c in job.__table__.columns}
    with database.reading() as session:
        counts = [
            session.scalar(select(func.count()).select_from(table).where(table.job_id == job_id))
            for table in (JobEvent, JobMetric, JobLog, JobArtifact)
        ]
    return columns, counts


@engines
@pytest.mark.parametrize("taken_over", [True, False], ids=["another has it", "it is queued again"])
def test_a_zombie_writes_nothing(database: Database, taken_over: bool) -> None:
    zombie = running(database)
    swept(database, later())
    if taken_over:
        successor = claimed(database, zombie.job_id, "successor")
        assert successor is not None and successor.fence > zombie.fence
    before = everything(database, zombie.job_id)
    for name, (act, refusal) in ZOMBIE.items():
        with database.session() as session:
            assert act(session, zombie) == refusal, name
        assert everything(database, zombie.job_id) == before, f"a zombie's {name} has changed something"


@engines
def test_a_take_over_waits_for_what_is_being_stored(
    database: Database, database_url: str, open_database: Callable[[str], Database]
) -> None:
    """Between the check of the fence and the commit nobody else can get the job."""
    claim = running(database)
    other = open_database(database_url)
    done = threading.Event()

    def take_over() -> None:
        swept(other, later())
        done.set()

    postgresql = database.engine.dialect.name == "postgresql"
    with database.session() as session:
        assert attempts.lock(session, claim.job_id, claim.fence) is not None
        thread = threading.Thread(target=take_over)
        thread.start()
        # PostgreSQL's sweeper leaves the job for its next round, SQLite's waits for the commit
        assert done.wait(5 if postgresql else 0.3) is postgresql
    thread.join(20)
    assert done.is_set()
    assert state(database, claim.job_id) is (State.RUNNING if postgresql else State.QUEUED)


@engines
def test_progress_and_rows_of_the_holder_are_stored(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        assert attempts.renew(session, claim.job_id, claim.fence, LEASE_S) == attempts.Orders(None)
        assert attempts.record_progress(
            session, claim.job_id, claim.fence, done=3, total=12, message="training", eta_s=4.5
        )
        for size in (3, 5):
            kept = Artifact("report.json", f"jobs/a/{size}", "application/json", size)
            assert attempts.record_rows(
                session, claim.job_id, claim.fence, metrics=[(3, {"loss": 0.25})], artifacts=[kept]
            )
    job = row(database, claim.job_id)
    assert (job.done, job.total, job.message, job.eta_s) == (3, 12, "training", 4.5)
    with database.reading() as session:
        assert [m.values for m in session.scalars(select(JobMetric))] == [{"loss": 0.25}] * 2
        (artifact,) = session.scalars(select(JobArtifact))
    assert (artifact.key, artifact.size) == ("jobs/a/5", 5), "an artifact of the same name is replaced"


@engines
def test_success_publishes_in_the_same_transaction(database: Database) -> None:
    claim = running(database)

    def broken(_: Session) -> None:
        raise RuntimeError("the registry refuses")

    with pytest.raises(RuntimeError), database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, {}, broken)
    assert state(database, claim.job_id) is State.RUNNING
    with database.session() as session:
        assert attempts.succeed(session, claim.job_id, claim.fence, {"metrics": {"loss": 1.0}})
    job = row(database, claim.job_id)
    assert (job.state, job.result, job.lease_until) == ("succeeded", {"metrics": {"loss": 1.0}}, None)
    assert events(database, claim.job_id) == ["queued", "running", "succeeded"]


def test_failures_are_tried_again_until_attempts_run_out(database: Database) -> None:
    job_id = submitted(database, max_attempts=2)
    for expected in (State.QUEUED, State.FAILED):
        claim = claimed(database, job_id)
        assert claim is not None
        with database.session() as session:
            assert attempts.fail(session, job_id, claim.fence, PROBLEM) is expected
    job = row(database, job_id)
    assert job.error is not None and job.error.items() >= PROBLEM.items() and job.attempt == 2
    assert job.finished_at is not None


def test_what_the_user_has_to_mend_is_not_tried_again(database: Database) -> None:
    claim = running(database, max_attempts=5)
    with database.session() as session:
        assert attempts.fail(session, claim.job_id, claim.fence, WRONG_INPUT) is State.FAILED


@pytest.mark.parametrize("to", [State.QUEUED, State.PAUSED])
def test_a_stop_that_is_no_failure_does_not_count_as_attempt(database: Database, to: State) -> None:
    claim = running(database, max_attempts=1)
    with database.session() as session:
        if to is State.PAUSED:
            request_pause(session, EVERYTHING, claim.job_id)
        assert attempts.release(session, claim.job_id, claim.fence, to, "shutdown") is to
    assert row(database, claim.job_id).attempt == 0
    if to is State.QUEUED:
        again = claimed(database, claim.job_id)
        assert again is not None and again.attempt == 1 and again.fence == 2, "the fence grows all the same"
