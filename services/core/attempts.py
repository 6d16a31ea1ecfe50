"""Attempts: what a worker does with a job, from the claim to its end.

Every function that writes carries the fence of the claim. Once the lease was lost and another has
claimed the job, or the sweeper has taken it back, they change nothing and say so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import JSON, ColumnElement, Select, Update, bindparam, func, insert, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from services.core import checkpoints, leftovers, outbox
from services.core.failures import explained
from services.core.jobs import add_event, changed, get, problem
from services.core.lifecycle import State
from services.core.scheduling import ANYTHING, LOST_WORKER, Offer, retry_at, runnable, time_run
from services.core.scope import EVERYTHING
from services.core.tables import Job, JobArtifact, JobEvent, JobLog, JobMetric, Webhook
from services.core.tables.base import UtcDateTime, now, table_of

_ORDERED = {"cancel": State.CANCELLED, "pause": State.PAUSED}


@dataclass(frozen=True)
class Claim:
    """What a worker needs to run an attempt; `trace` is the traceparent of the request that made the job.

    `parent_id` is the job that it is a child of, if any. `gpus` are the worker's GPUs that it gets, as
    CUDA_VISIBLE_DEVICES names them, `memory_bytes` what it asked for. Where it runs on several machines, `nodes` of
    them, `gpus_each` and `memory_bytes` are what it asked for on each.
    """

    job_id: str
    project_id: str
    kind: str
    name: str
    spec: dict[str, Any]
    attempt: int
    max_attempts: int
    fence: int
    trace: str | None = None
    memory_bytes: int | None = None
    parent_id: str | None = None
    nodes: int | None = None
    gpus: tuple[str, ...] = ()
    gpus_each: int | None = None


@dataclass(frozen=True)
class Orders:
    """What a renewed lease says: go on (None), or stop: to `cancel`, to `pause`, or because of the `time_limit`."""

    stop: str | None


@dataclass(frozen=True)
class Artifact:
    """A file that a job kept, stored under `key`; `size` in bytes."""

    name: str
    key: str
    content_type: str
    size: int


def claim_next(session: Session, worker: str, lease_s: float, offer: Offer = ANYTHING,
               per_owner: int | None = None) -> Claim | None:  # fmt: skip
    """Take the queued job that a worker with this offer runs next; None when there is none.

    Of two workers at once, each gets another one. It gets as many of the GPUs as it asks for, or one where it takes
    what is there; the event `running` names them.
    """
    following, values = runnable(offer, now(), per_owner)
    return _take(session, _take_first(following), values, worker, lease_s, offer.names)


def claim(session: Session, job_id: str, worker: str, lease_s: float) -> Claim | None:
    """Take a queued job: one UPDATE that only one worker can win. None when there is nothing to run."""
    return _take(session, _TAKE_ONE, {"wanted_id": job_id}, worker, lease_s)


def _taking(which: ColumnElement[Any]) -> ReturningUpdate[Any]:
    """The statement of a claim. Of the table, not of its class: the session need not look for jobs that it holds."""
    moment = bindparam("moment", type_=UtcDateTime())
    listened = select(Webhook.id).where(Webhook.project_id == _JOBS.c.project_id, Webhook.active).exists()
    values = {
        "state": State.RUNNING, "attempt": _JOBS.c.attempt + 1, "fence": _JOBS.c.fence + 1,
        "worker": bindparam("by_worker"), "lease_until": bindparam("lease_end"), "attempt_started_at": moment,
        "started_at": func.coalesce(_JOBS.c.started_at, moment),
        **dict.fromkeys(("stop_order", "not_before", "message", "eta_s", "error")),
    }  # fmt: skip
    return (
        update(_JOBS).where(_JOBS.c.id == which, _JOBS.c.state == State.QUEUED).values(values)
        .returning(*(_JOBS.c[name] for name in ("gpus", *_CLAIMED)), listened)
    )  # fmt: skip


_JOBS, _EVENTS = table_of(Job), table_of(JobEvent)
# fields of a claim, in their order
_CLAIMED = (
    "id", "project_id", "kind", "name", "spec", "attempt", "max_attempts", "fence", "trace", "memory_bytes",
    "parent_id", "nodes",
)  # fmt: skip
_TOLD = bindparam("told", type_=JSONB())
_TAKE_ONE = _taking(bindparam("wanted_id"))


@cache
def _take_first(following: Select[Any]) -> ReturningUpdate[Any]:
    """Take the first of them that nobody else is taking; made once for each statement."""
    return _taking(following.limit(1).with_for_update(skip_locked=True).scalar_subquery())


def _take(session: Session, statement: ReturningUpdate[Any], values: dict[str, Any], worker: str, lease_s: float,
          names: tuple[str, ...] = ()) -> Claim | None:  # fmt: skip
    moment = now()
    given = {"moment": moment, "by_worker": worker, "lease_end": moment + timedelta(seconds=lease_s)}
    in_one = session.get_bind().dialect.name == "postgresql"
    if in_one:
        # what its event says, for each number of GPUs that it may get
        told = [_running(worker, names[:number]) for number in range(len(names) + 1)]
        row = session.execute(_with_its_event(statement), values | given | {"told": told}).one_or_none()
    else:
        row = session.execute(statement, values | given).one_or_none()
    if row is None:
        return None
    wanted, *known, listened = row
    taken = Claim(*known)
    gpus = names[: 1 if wanted is None else wanted]
    event = {"job_id": taken.job_id, "attempt": taken.attempt, "type": "running", "data": _running(worker, gpus)}
    if not in_one:
        session.execute(insert(_EVENTS), event)
    if listened:
        outbox.tell_of_jobs(session, [event])
    return replace(taken, gpus=gpus, gpus_each=wanted)


def _running(worker: str, gpus: Iterable[str]) -> dict[str, Any]:
    """What the event of a claim says."""
    return {"worker": worker, **({"gpus": names} if (names := list(gpus)) else {})}


@cache
def _with_its_event(statement: ReturningUpdate[Any]) -> Select[Any]:
    """A claim and its event in one trip to PostgreSQL; SQLite cannot write both at once, and has no trip to save."""
    taken = statement.cte("taken")
    most = func.jsonb_array_length(_TOLD) - 1
    data = _TOLD.op("->")(func.least(func.coalesce(taken.c.gpus, 1), most)).cast(JSON)
    event = insert(_EVENTS).from_select(
        ["job_id", "attempt", "type", "data", "at"],
        select(taken.c.id, taken.c.attempt, literal("running"), data, bindparam("moment", type_=UtcDateTime())),
        include_defaults=False,
    )
    return select(taken).add_cte(event.cte("event"))


def _held(job_id: str, fence: int) -> Update:
    return update(Job).where(Job.id == job_id, Job.fence == fence, Job.state == State.RUNNING)


def lock(session: Session, job_id: str, fence: int) -> Job | None:
    """The job, if the claim with this fence is the present one: nobody can take it over in this transaction."""
    return session.scalars(
        select(Job).where(Job.id == job_id, Job.fence == fence, Job.state == State.RUNNING).with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()  # fmt: skip


def renew(session: Session, job_id: str, fence: int, lease_s: float) -> Orders | None:
    """Extend the lease. None when it was lost: stop, and publish nothing."""
    if changed(session, _held(job_id, fence).values(lease_until=now() + timedelta(seconds=lease_s))) == 0:
        return None
    job = get(session, EVERYTHING, job_id)
    session.refresh(job, ["stop_order"])
    spent = job.time_limit_s is not None and time_run(job, now()) > job.time_limit_s
    return Orders(job.stop_order or ("time_limit" if spent else None))


def record_progress(session: Session, job_id: str, fence: int, *, done: int, total: int, message: str,
                    eta_s: float | None) -> bool:  # fmt: skip
    """Store how far an attempt has come; False when its lease was lost."""
    return changed(session, _held(job_id, fence).values(done=done, total=total, message=message, eta_s=eta_s)) == 1


def record_checkpoint(session: Session, job_id: str, fence: int, step: int) -> bool:
    """Remember the step of the newest checkpoint; False when the lease was lost."""
    return changed(session, _held(job_id, fence).values(checkpoint_step=step)) == 1


def record_rows(session: Session, job_id: str, fence: int, *, metrics: Iterable[tuple[int, dict[str, Any]]] = (),
                logs: Iterable[tuple[str, str]] = (), artifacts: Iterable[Artifact] = (),
                events: Iterable[tuple[str, dict[str, Any]]] = ()) -> bool:  # fmt: skip
    """Append metrics `(step, values)`, log lines `(level, message)` and events `(type, data)`, and remember artifacts.

    An artifact of the same name is replaced. False when the lease was lost.
    """
    job = lock(session, job_id, fence)
    if job is None:
        return False
    attempt = job.attempt
    session.add_all(JobMetric(job_id=job_id, attempt=attempt, step=step, values=values) for step, values in metrics)
    session.add_all(JobLog(job_id=job_id, attempt=attempt, level=level, message=text) for level, text in logs)
    for type_, data in events:
        add_event(session, job_id, attempt, type_, **data)
    for a in artifacts:
        session.merge(
            JobArtifact(job_id=job_id, name=a.name, key=a.key, content_type=a.content_type, size=a.size, at=now())
        )  # fmt: skip
    session.flush()
    return True


def succeed(session: Session, job_id: str, fence: int, result: dict[str, Any],
            publish: Callable[[Session], None] | None = None) -> bool:  # fmt: skip
    """End an attempt well and, in the same transaction, register what it made. False when the lease was lost."""
    job = lock(session, job_id, fence)
    if job is None:
        return False
    values: dict[str, Any] = {
        "state": State.SUCCEEDED, "result": result, "finished_at": now(), "done": func.coalesce(Job.total, Job.done),
        "checkpoint_step": None, **_over(job),
    }  # fmt: skip
    changed(session, _held(job_id, fence).values(**values))
    if publish is not None:
        publish(session)
    leftovers.keep(session, job_id, fence)
    # nobody will go on from its checkpoints, nor from those that it has begun with
    leftovers.end_of_jobs(session, dict.fromkeys([job_id, *checkpoints.before(session, job_id)], True))
    add_event(session, job_id, job.attempt, "succeeded")
    return True


def _over(job: Job) -> dict[str, Any]:
    """What every end of an attempt changes."""
    return {"lease_until": None, "eta_s": None, "stop_order": None, "attempt_started_at": None,
            "ran_s": time_run(job, now())}  # fmt: skip


def fail(session: Session, job_id: str, fence: int, why: dict[str, Any]) -> State | None:
    """End an attempt badly; the state of the job then, or None when its lease was lost.

    It is queued again when its policy tries such failures again and attempts are left. An order to stop
    outlives the attempt.
    """
    job = lock(session, job_id, fence)
    return None if job is None else end_badly(session, job, why)


def end_badly(session: Session, job: Job, why: dict[str, Any], **known: Any) -> State:
    """End the attempt of a running job that the session has locked; `known` goes into the event."""
    moment = now()
    again = retry_at(job, why["reason"], _failures(session, job), moment)
    state = State.QUEUED if again else State.FAILED
    if job.stop_order == "cancel" or (job.stop_order and again):
        state = _ORDERED[job.stop_order]
    attempt, why = job.attempt, explained(session, job, why, again=state is State.QUEUED)
    values: dict[str, Any] = {"state": state, "error": why, "worker": None, **_over(job)}
    if state is State.QUEUED:
        values["not_before"] = again if again and again > moment else None
    if state in {State.FAILED, State.CANCELLED}:
        values["finished_at"] = now()
        leftovers.end_of_job(session, job.id, checkpoints=bool(job.children))
    changed(session, _held(job.id, job.fence).values(**values))
    add_event(session, job.id, attempt, "attempt_failed", problem=why, retry=state is State.QUEUED, **known)
    add_event(session, job.id, attempt, state.value)
    return state


def _failures(session: Session, job: Job) -> int:
    """How many attempts of the job have failed without a worker being lost."""
    failed = select(JobEvent.data).where(JobEvent.job_id == job.id, JobEvent.type == "attempt_failed")
    return sum(data["problem"]["reason"] != LOST_WORKER for data in session.scalars(failed))


def set_aside(session: Session, job_id: str, fence: int) -> State | None:
    """Pause a job whose time limit is over, after its checkpoint; its owner may raise the limit and resume it.

    The state of the job then: a cancellation that was ordered meanwhile goes before. None when the lease was lost.
    """
    job = lock(session, job_id, fence)
    if job is None:
        return None
    limit = job.time_limit_s or 0.0
    why = problem(
        "Time limit reached", f"the job has run for the {limit:g} s that it was given; its checkpoint is kept: raise "
        "time_limit_s and resume it, or cancel it", "time_limit",
    )  # fmt: skip
    why = explained(session, job, why)
    changed(session, _held(job_id, fence).values(error=why, stop_order=job.stop_order or "pause"))
    return release(session, job_id, fence, State.PAUSED, "its time limit is over")


def release(session: Session, job_id: str, fence: int, to: State, reason: str) -> State | None:
    """Give a running job up after its checkpoint: to `queued` or `paused`, the attempt then not counted,
    or to `cancelled`. The state of the job then: a cancellation or a pause that was ordered meanwhile goes
    before, and so does a pause that was taken back. None when the lease was lost.
    """
    job = lock(session, job_id, fence)
    if job is None:
        return None
    if job.stop_order == "cancel" and to is not State.CANCELLED:
        to, reason = State.CANCELLED, "cancelled by its owner"
    elif to is State.PAUSED and job.stop_order != "pause":
        to, reason = State.QUEUED, "resumed by its owner before the pause had come"
    elif to is State.QUEUED and job.stop_order == "pause":
        to, reason = State.PAUSED, "paused by its owner"
    attempt = job.attempt
    values: dict[str, Any] = {"state": to, "worker": None, **_over(job)}
    if to is State.CANCELLED:
        values["finished_at"] = now()
        leftovers.end_of_job(session, job_id, checkpoints=bool(job.children))
        values["error"] = explained(session, job, problem("Cancelled", reason, "cancelled"))
    else:
        values["attempt"] = attempt - 1
    changed(session, _held(job_id, fence).values(**values))
    add_event(session, job_id, attempt, to.value, reason=reason)
    return to
