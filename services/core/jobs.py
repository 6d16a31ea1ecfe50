"""The life of a job in the database: every change is one guarded UPDATE and one event.

The functions take a session and leave the commit to the caller. What a worker writes
carries the fence of its claim; a worker that lost its lease changes nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Update, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from services.core.errors import Conflict, NotFound
from services.core.ids import new_id
from services.core.lifecycle import TERMINAL, TRANSITIONS, State
from services.core.tables import (
    Dataset,
    IdempotencyKey,
    Job,
    JobArtifact,
    JobDependency,
    JobEvent,
    JobLog,
    JobMetric,
)
from services.core.tables.base import now

LOST = "the worker fell silent and its lease ran out"


@dataclass(frozen=True)
class Claim:
    """What a worker needs to run an attempt."""

    job_id: str
    kind: str
    name: str
    spec: dict[str, Any]
    attempt: int
    max_attempts: int
    fence: int


@dataclass(frozen=True)
class Orders:
    """What a renewed lease says: go on (None), or stop in order to `cancel` or `pause`."""

    stop: str | None


def _rows(session: Session, statement: Update) -> int:
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def _event(session: Session, job_id: str, attempt: int, type_: str, **data: Any) -> None:
    session.add(JobEvent(job_id=job_id, attempt=attempt, type=type_, data=data))


def get(session: Session, job_id: str) -> Job:
    """The job, or NotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    return job


def needs(session: Session, job_id: str) -> list[str]:
    """Ids of the jobs it waits for, or waited for."""
    return list(session.scalars(select(JobDependency.needs_id).where(JobDependency.job_id == job_id)))


def submit(session: Session, kind: str, spec: dict[str, Any], *, name: str, created_by: str, max_attempts: int,
           priority: int = 0, depends_on: Sequence[str] = (), idempotency_key: str | None = None,
           ) -> tuple[Job, bool]:  # fmt: skip
    """Record a job, waiting for its dependencies or queued; returns it and whether it is new.

    With a key that was used before, the first job is returned; Conflict when other things were asked with it.
    """
    digest = hashlib.sha256(json.dumps([kind, spec, name, list(depends_on)], sort_keys=True).encode()).hexdigest()
    if idempotency_key:
        known = session.get(IdempotencyKey, (created_by, idempotency_key))
        if known is not None:
            if known.digest != digest:
                raise Conflict(f"the idempotency key '{idempotency_key}' was used for another request; use a new one")
            return get(session, known.job_id), False
    required = [get(session, job_id) for job_id in dict.fromkeys(depends_on)]
    hopeless = [job.id for job in required if job.state in {State.FAILED, State.CANCELLED}]
    if hopeless:
        raise Conflict(f"{hopeless[0]} has ended without success; a job cannot depend on it")
    ready = all(job.state == State.SUCCEEDED for job in required)
    state = State.QUEUED if ready else State.WAITING
    job = Job(
        id=new_id("job"), kind=kind, name=name, state=state, spec=spec, priority=priority, max_attempts=max_attempts,
        created_by=created_by, attempt=0, fence=0, created_at=now(),
    )  # fmt: skip
    session.add(job)
    session.flush()
    session.add_all(JobDependency(job_id=job.id, needs_id=other.id) for other in required)
    if idempotency_key:
        session.add(IdempotencyKey(owner=created_by, key=idempotency_key, digest=digest, job_id=job.id))
    _event(session, job.id, 0, state.value)
    session.flush()
    return job, True


def claim(session: Session, job_id: str, worker: str, lease_s: float) -> Claim | None:
    """Take a queued job: one UPDATE that only one worker can win. None when there is nothing to run."""
    moment = now()
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.state == State.QUEUED)
        .values(
            state=State.RUNNING, attempt=Job.attempt + 1, fence=Job.fence + 1, worker=worker, stop_order=None,
            lease_until=moment + timedelta(seconds=lease_s), started_at=func.coalesce(Job.started_at, moment),
            message=None, eta_s=None, error=None,
        )
    )  # fmt: skip
    if _rows(session, statement) == 0:
        return None
    job = get(session, job_id)
    session.refresh(job)
    _event(session, job_id, job.attempt, "running", worker=worker)
    return Claim(job.id, job.kind, job.name, job.spec, job.attempt, job.max_attempts, job.fence)


def next_queued(session: Session) -> str | None:
    """The queued job that is to run next: highest priority, then oldest."""
    return session.scalars(
        select(Job.id).where(Job.state == State.QUEUED).order_by(Job.priority.desc(), Job.created_at, Job.id).limit(1)
    ).first()


def renew(session: Session, job_id: str, fence: int, lease_s: float) -> Orders | None:
    """Extend the lease. None when it was lost: stop, and publish nothing."""
    statement = _held(job_id, fence).values(lease_until=now() + timedelta(seconds=lease_s))
    if _rows(session, statement) == 0:
        return None
    return Orders(session.scalars(select(Job.stop_order).where(Job.id == job_id)).one())


def _held(job_id: str, fence: int) -> Update:
    return update(Job).where(Job.id == job_id, Job.fence == fence, Job.state == State.RUNNING)


def holds(session: Session, job_id: str, fence: int) -> bool:
    """True while the claim with this fence is the present one."""
    found = select(Job.id).where(Job.id == job_id, Job.fence == fence, Job.state == State.RUNNING)
    return session.scalars(found).first() is not None


def record_progress(session: Session, job_id: str, fence: int, *, done: int, total: int, message: str,
                    eta_s: float | None) -> bool:  # fmt: skip
    """Store how far an attempt has come; False when its lease was lost."""
    return _rows(session, _held(job_id, fence).values(done=done, total=total, message=message, eta_s=eta_s)) == 1


def add_metrics(session: Session, job_id: str, attempt: int, rows: Iterable[tuple[int, dict[str, Any]]]) -> None:
    """Append rows of numbers."""
    session.add_all(JobMetric(job_id=job_id, attempt=attempt, step=step, values=values) for step, values in rows)


def add_logs(session: Session, job_id: str, attempt: int, rows: Iterable[tuple[str, str]]) -> None:
    """Append log lines `(level, message)`."""
    session.add_all(JobLog(job_id=job_id, attempt=attempt, level=level, message=text) for level, text in rows)


def add_artifact(session: Session, job_id: str, *, name: str, key: str, content_type: str, size: int) -> None:
    """Remember a kept file; one of the same name is replaced."""
    session.merge(JobArtifact(job_id=job_id, name=name, key=key, content_type=content_type, size=size, at=now()))


def succeed(session: Session, job_id: str, fence: int, result: dict[str, Any],
            publish: Callable[[Session], None] | None = None) -> bool:  # fmt: skip
    """End an attempt well and, in the same transaction, register what it made. False when the lease was lost."""
    values: dict[str, Any] = {
        "state": State.SUCCEEDED, "result": result, "finished_at": now(), "lease_until": None, "eta_s": None,
        "done": func.coalesce(Job.total, Job.done),
    }  # fmt: skip
    if _rows(session, _held(job_id, fence).values(**values)) == 0:
        return False
    if publish is not None:
        publish(session)
    _event(session, job_id, _attempt(session, job_id), "succeeded")
    return True


def _attempt(session: Session, job_id: str) -> int:
    return session.scalars(select(Job.attempt).where(Job.id == job_id)).one()


def fail(session: Session, job_id: str, fence: int, problem: dict[str, Any], *, retry: bool) -> State | None:
    """End an attempt badly: queued again when `retry` and attempts are left, else failed. None: lease lost."""
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.fence == fence, Job.state == State.RUNNING)
    ).one_or_none()
    if job is None:
        return None
    session.refresh(job)
    return _end_attempt(session, job, problem, retry=retry)


def _end_attempt(session: Session, job: Job, problem: dict[str, Any], *, retry: bool) -> State | None:
    again = retry and job.attempt < job.max_attempts
    state = State.QUEUED if again else State.FAILED
    values: dict[str, Any] = {"state": state, "error": problem, "lease_until": None, "worker": None, "eta_s": None}
    if not again:
        values["finished_at"] = now()
    if _rows(session, _held(job.id, job.fence).values(**values)) == 0:
        return None
    _event(session, job.id, job.attempt, "attempt_failed", problem=problem, retry=again)
    _event(session, job.id, job.attempt, state.value)
    return state


def release(session: Session, job_id: str, fence: int, to: State, reason: str) -> bool:
    """Give a running job up after its checkpoint: to `queued` (worker shutdown, the attempt is not counted),
    `paused` or `cancelled`. False when the lease was lost.
    """
    values: dict[str, Any] = {"state": to, "lease_until": None, "worker": None, "stop_order": None, "eta_s": None}
    if to is State.QUEUED:
        values["attempt"] = Job.attempt - 1
    if to is State.CANCELLED:
        values["finished_at"] = now()
    attempt = _attempt(session, job_id)
    if _rows(session, _held(job_id, fence).values(**values)) == 0:
        return False
    _event(session, job_id, attempt, to.value, reason=reason)
    return True


def request_cancel(session: Session, job_id: str) -> Job:
    """Cancel at once what does not run; order a running job to stop. A job that has ended is a Conflict."""
    job = get(session, job_id)
    at_once = [state for state, after in TRANSITIONS.items() if State.CANCELLED in after and state != State.RUNNING]
    stopped = update(Job).where(Job.id == job_id, Job.state.in_(at_once)).values(
        state=State.CANCELLED, finished_at=now()
    )  # fmt: skip
    if _rows(session, stopped) == 1:
        _event(session, job_id, job.attempt, "cancelled", reason="cancelled before it ran")
    else:
        ordered = update(Job).where(Job.id == job_id, Job.state == State.RUNNING).values(stop_order="cancel")
        if _rows(session, ordered) == 0:
            session.refresh(job)
            raise Conflict(f"job {job_id} has already {_ended(job.state)}; it cannot be cancelled")
        _event(session, job_id, job.attempt, "cancel_requested")
    session.refresh(job)
    return job


def _ended(state: str) -> str:
    return {"succeeded": "succeeded", "failed": "failed"}.get(state, "been cancelled")


def sweep(session: Session, moment: datetime) -> list[str]:
    """Mend what time has broken; safe to run twice. Returns the queued jobs, which are to be rung.

    Expired leases become queued or failed, waiting jobs are released or fail with what
    they wait for, uploads that were never completed are forgotten.
    """
    expired = select(Job).where(Job.state == State.RUNNING, Job.lease_until < moment)
    for job in session.scalars(expired):
        _end_attempt(session, job, _problem("Worker lost", LOST, "lost_worker"), retry=True)
    _settle_waiting(session)
    session.execute(delete(Dataset).where(Dataset.state == "uploading", Dataset.expires_at < moment))
    queued = select(Job.id).where(Job.state == State.QUEUED).order_by(Job.priority.desc(), Job.created_at, Job.id)
    return list(session.scalars(queued))


def _settle_waiting(session: Session) -> None:
    needed = aliased(Job)
    pairs = session.execute(
        select(Job.id, needed.id, needed.state)
        .join(JobDependency, JobDependency.job_id == Job.id)
        .join(needed, needed.id == JobDependency.needs_id)
        .where(Job.state == State.WAITING)
    ).all()
    states: dict[str, dict[str, str]] = {}
    for job_id, needed_id, state in pairs:
        states.setdefault(job_id, {})[needed_id] = state
    for job_id, found in states.items():
        lost = [other for other, state in found.items() if state in {State.FAILED, State.CANCELLED}]
        waiting = update(Job).where(Job.id == job_id, Job.state == State.WAITING)
        if lost:
            problem = _problem("Dependency failed", f"{lost[0]} has {_ended(found[lost[0]])}", "dependency")
            if _rows(session, waiting.values(state=State.FAILED, error=problem, finished_at=now())):
                _event(session, job_id, 0, "failed", problem=problem)
        elif all(state == State.SUCCEEDED for state in found.values()) and _rows(
            session, waiting.values(state=State.QUEUED)
        ):
            _event(session, job_id, 0, "queued")


def released_dependants(session: Session) -> list[str]:
    """Release the jobs whose dependencies have all succeeded; returns what is queued now."""
    return sweep(session, now())


def _problem(title: str, detail: str, reason: str) -> dict[str, Any]:
    return {"type": f"urn:medcoss:job:{reason}", "title": title, "detail": detail, "reason": reason}


def has_ended(job: Job) -> bool:
    """True for succeeded, failed and cancelled jobs."""
    return State(job.state) in TERMINAL
