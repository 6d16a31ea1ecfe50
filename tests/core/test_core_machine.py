"""Any order of events leaves every job in a lawful state."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from services.core import attempts
from services.core.attempts import Claim
from services.core.db import Database
from services.core.errors import Conflict
from services.core.jobs import request_cancel, request_pause, request_resume
from services.core.lifecycle import TERMINAL, State, may_follow
from services.core.scope import EVERYTHING
from services.core.tables import Job
from services.core.tables.base import now
from tests.core.steps import LEASE_S, WRONG_INPUT, claimed, events, row, state, submitted, swept

PROBLEM = {"title": "Broken", "detail": "it broke", "reason": "code"}
MAX_ATTEMPTS = 2
ENDS = ["succeed", "fail", "fail for good", "shutdown", "pause", "time over", "renew"]


class Jobs(RuleBasedStateMachine):
    """Workers that claim, die, come back too late; owners that cancel; a sweeper in between."""

    template: Path
    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        shutil.copy(self.template, self.folder.name)
        self.database = Database(f"sqlite:///{self.folder.name}/{self.template.name}")
        self.known: list[str] = []
        self.finals: dict[str, State] = {}
        self.fences: dict[str, int] = {}
        self.clock = timedelta()

    def teardown(self) -> None:
        for job_id in self.known:
            history = [State(e) for e in events(self.database, job_id) if e in set(State)]
            assert all(may_follow(old, new) for old, new in pairwise(history)), history
            assert history[-1] is state(self.database, job_id), "the history ends where the job stands"
        self.database.engine.dispose()
        self.folder.cleanup()

    @rule(target=jobs, needs=st.lists(jobs, max_size=2))
    def submit(self, needs: list[str]) -> str:
        lost = {State.FAILED, State.CANCELLED}
        allowed = [job_id for job_id in needs if state(self.database, job_id) not in lost]
        self.known.append(submitted(self.database, *allowed, max_attempts=MAX_ATTEMPTS))
        return self.known[-1]

    @rule(target=claims, job=jobs)
    def claim(self, job: str) -> Claim | None:
        before = state(self.database, job)
        claim = claimed(self.database, job)
        assert (claim is not None) == (before is State.QUEUED)
        return claim

    @rule(
        claim=claims,
        end=st.sampled_from(["succeed", "fail", "fail for good", "shutdown", "pause", "time over", "renew"]),
    )
    def report(self, claim: Claim | None, end: str) -> None:
        if claim is None:
            return
        holds = self.fences.get(claim.job_id) == claim.fence and state(self.database, claim.job_id) is State.RUNNING
        with self.database.session() as session:
            key = (session, claim.job_id, claim.fence)
            accepted = {
                "succeed": lambda: attempts.succeed(*key, {}),
                "fail": lambda: attempts.fail(*key, PROBLEM),
                "fail for good": lambda: attempts.fail(*key, WRONG_INPUT),
                "shutdown": lambda: attempts.release(*key, State.QUEUED, "shutdown"),
                "pause": lambda: attempts.release(*key, State.PAUSED, "pause"),
                "time over": lambda: attempts.set_aside(*key),
                "renew": lambda: attempts.renew(*key, LEASE_S),
            }[end]()
        assert bool(accepted) == holds

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        over = state(self.database, job) in TERMINAL
        try:
            with self.database.session() as session:
                request_cancel(session, EVERYTHING, job)
            assert not over
        except Conflict:
            assert over

    @rule(job=jobs, change=st.sampled_from([request_pause, request_resume]))
    def hold(self, job: str, change: Callable[[Session, str], Job]) -> None:
        before = row(self.database, job)
        refused = State(before.state) in TERMINAL or (change is request_pause and before.stop_order == "cancel")
        try:
            with self.database.session() as session:
                change(session, EVERYTHING, job)
            assert not refused
        except Conflict:
            assert refused
        after = state(self.database, job)
        if change is request_pause and not refused:
            assert after in {State.PAUSED, State.RUNNING}
        if change is request_resume and not refused:
            assert after is not State.PAUSED

    @rule(lost=st.booleans())
    def sweep(self, lost: bool) -> None:
        moment = now() + timedelta(seconds=2 * LEASE_S if lost else 0)
        first = swept(self.database, moment)
        before = {job_id: events(self.database, job_id) for job_id in self.known}
        assert swept(self.database, moment) == first
        assert {job_id: events(self.database, job_id) for job_id in self.known} == before

    @invariant()
    def lawful(self) -> None:
        for job_id in self.known:
            job = row(self.database, job_id)
            found = State(job.state)
            assert (found is State.RUNNING) == (job.lease_until is not None)
            assert 0 <= job.attempt <= MAX_ATTEMPTS
            assert job.fence >= self.fences.get(job_id, 0)
            assert (found in TERMINAL) == (job.finished_at is not None)
            assert (found is State.RUNNING) == (job.attempt_started_at is not None)
            assert job.stop_order is None or found is State.RUNNING, "an order ends with the attempt"
            self.fences[job_id] = job.fence
            assert self.finals.get(job_id, found) is found, "a job that has ended does not change"
            if found in TERMINAL:
                self.finals[job_id] = found


@pytest.mark.timeout(120)
def test_every_order_of_events_is_lawful(sqlite_template: Path) -> None:
    Jobs.template = sqlite_template
    few = settings(
        max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None,
        derandomize=True,
    )  # fmt: skip
    run_state_machine_as_test(Jobs, settings=few)  # type: ignore[no-untyped-call]
