"""Jobs as their owners see them: submit, look up, cancel.

The functions take a session and leave the commit to the caller. Every change of state is one
guarded UPDATE and one event. What workers do is in `services.core.attempts`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from sqlalchemy import CursorResult, Update, case, func, insert, select, update
from sqlalchemy.orm import Session

from services.core import aliases, deployments, labels, leftovers, outbox, pending, shares, tracing
from services.core.errors import Conflict, TooMany
from services.core.ids import new_id
from services.core.lifecycle import TERMINAL, TO_RUN, TRANSITIONS, State
from services.core.scheduling import next_turns
from services.core.scope import Scope
from services.core.shares import Share
from services.core.specs import references, with_ids
from services.core.tables import (
    DEFAULT_PROJECT,
    Job,
    JobDependency,
    JobEvent,
    JobInput,
    JobLog,
    JobMetric,
)
from services.core.tables.base import now, table_of

Row = TypeVar("Row", JobEvent, JobLog, JobMetric)


@dataclass(frozen=True)
class NewJob:
    """What is asked for. `spec` is complete: its defaults are filled in."""

    kind: str
    spec: dict[str, Any]
    name: str
    max_attempts: int
    project_id: str = DEFAULT_PROJECT
    priority: int = 0
    depends_on: tuple[str, ...] = ()
    gpus: int | None = None
    # machines that it runs on together; None: on one
    nodes: int | None = None
    memory_bytes: int | None = None
    retry_on: tuple[str, ...] | None = None
    backoff_s: float = 0.0
    time_limit_s: float | None = None
    notes: str = ""
    tags: tuple[str, ...] = ()
    # the request that asks for it
    trace: str | None = field(default_factory=tracing.traceparent)
    # places in the batch of the jobs that must have succeeded first, too
    after: tuple[int, ...] = ()
    # place in the batch of the job that it is a child of
    child_of: int | None = None
    # child jobs that it is shared out among; None when it does all itself
    children: int | None = None
    # its id, where others have to name it before it is recorded
    id: str | None = None


def changed(session: Session, statement: Update) -> int:
    """Run a guarded UPDATE; the number of rows that it changed."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def add_event(session: Session, job_id: str, attempt: int, type_: str, **data: Any) -> None:
    """Append to a job's history.

    The session has locked the job's row, or has just made it: what a job reports is numbered by one writer at a time,
    so that readers who go by the number miss nothing.
    """
    session.add(JobEvent(job_id=job_id, attempt=attempt, type=type_, data=data))
    outbox.tell_of_jobs(session, [{"job_id": job_id, "attempt": attempt, "type": type_, "data": data}])


def problem(title: str, detail: str, reason: str) -> dict[str, Any]:
    """Why a job has failed, as a problem document with a typed `reason`."""
    return {"type": f"urn:medcoss:job:{reason}", "title": title, "detail": detail, "reason": reason}


def get(session: Session, scope: Scope, job_id: str) -> Job:
    """The job, or NotFound."""
    return scope.get(session, Job, job_id)


def rows(session: Session, scope: Scope, table: type[Row], job_id: str, after: int, limit: int) -> Sequence[Row]:
    """What a job has reported after the row `after`, in order. NotFound when there is no such job."""
    get(session, scope, job_id)
    following = select(table).where(table.job_id == job_id, table.seq > after).order_by(table.seq).limit(limit)
    return session.scalars(following).all()


def needs(session: Session, job_ids: Iterable[str], *, children: bool = True) -> dict[str, dict[str, str]]:
    """For each job, the jobs it waits for or waited for, with their states; its own child jobs only with `children`."""
    wanted = list(job_ids)
    found: dict[str, dict[str, str]] = {job_id: {} for job_id in wanted}
    rows_of = (
        select(JobDependency.job_id, JobDependency.needs_id, Job.state)
        .join(Job, Job.id == JobDependency.needs_id)
        .where(JobDependency.job_id.in_(wanted))
        .order_by(JobDependency.needs_id)
    )
    if not children:
        rows_of = rows_of.where(Job.parent_id.is_distinct_from(JobDependency.job_id))
    for job_id, needs_id, state in session.execute(rows_of):
        found[job_id][needs_id] = state
    return found


def check_quota(session: Session, owner: str, quota: int, number: int = 1) -> None:
    """TooMany when an owner has, with `number` more, over `quota` jobs that wait to run; a job and its child jobs are
    one.
    """
    if (refusal := over_quota(owner, unfinished(session, owner), quota, number)) is not None:
        raise refusal


def unfinished(session: Session, owner: str) -> int:
    """How many jobs of an owner wait to run; a job and its child jobs are one."""
    waiting = select(func.count()).where(Job.created_by == owner, Job.state.in_(TO_RUN), Job.parent_id.is_(None))
    return session.scalars(waiting).one()


def over_quota(owner: str, count: int, quota: int, number: int = 1) -> TooMany | None:
    """That an owner of `count` waiting jobs may not have `number` more; None when there is room."""
    if count + number <= quota:
        return None
    more = f" and asks for {number} more" if number > 1 else ""
    return TooMany(f"{owner} has {count} jobs that wait to run{more}, {quota} are allowed; let some of them run first")


def check_submission(session: Session, asked: NewJob, owner: str, quota: int | None) -> list[Job]:
    """The jobs that it depends on. Conflict when one has ended without success; TooMany when its owner has `quota`
    jobs already that wait to run.
    """
    required = [get(session, Scope.of(asked.project_id), job_id) for job_id in dict.fromkeys(asked.depends_on)]
    hopeless = [job.id for job in required if job.state in {State.FAILED, State.CANCELLED}]
    if hopeless:
        raise Conflict(f"{hopeless[0]} has ended without success; a job cannot depend on it")
    if quota is not None:
        check_quota(session, owner, quota)
    return required


def submit(session: Session, asked: NewJob, *, created_by: str, quota: int | None = None) -> Job:
    """Record a job, waiting for its dependencies or queued; aliases become the ids that they stand for now.

    Conflict when a dependency has already failed; TooMany when its owner has `quota` jobs already that wait to run.
    """
    return submit_all(session, [asked], created_by=created_by, quota=quota)[0]


def submit_all(session: Session, asked: Sequence[NewJob], *, created_by: str, quota: int | None = None) -> list[Job]:
    """Record jobs that may wait for each other (`after`), in the order given; their owner's turns are in it, too.

    Child jobs of those that are shared out are recorded with them. Raises as `submit` does; the quota counts them as a
    whole.
    """
    submitted, asked = len(asked), _shared_out(asked)
    required = [check_submission(session, one, created_by, None) for one in asked]
    if quota is not None:
        check_quota(session, created_by, quota, submitted)
    turns = next_turns(session, created_by, [one.priority for one in asked])
    stood_for = [
        aliases.resolved(session, one.project_id, (r.id for r in references(one.kind, one.spec))) for one in asked
    ]
    rows: list[Job] = []
    for one, ids, turn, needed in zip(asked, stood_for, turns, required, strict=True):
        ready = not one.after and all(job.state == State.SUCCEEDED for job in needed)
        parent_id = None if one.child_of is None else rows[one.child_of].id
        rows.append(new_row(one, with_ids(one.kind, one.spec, ids), created_by, turn, parent_id, ready=ready))
    session.add_all(rows)
    session.flush()
    for job, one, needed in zip(rows, asked, required, strict=True):
        others = dict.fromkeys([*(other.id for other in needed), *(rows[place].id for place in one.after)])
        session.add_all(JobDependency(job_id=job.id, needs_id=other) for other in others)
        waited = pending.pending(job.kind, job.spec)
        named = {r.id: r.resource for r in references(job.kind, job.spec) if r.id not in waited}
        session.add_all(JobInput(job_id=job.id, input_id=key, resource=resource) for key, resource in named.items())
    session.flush()
    events = [
        {"job_id": job.id, "attempt": 0, "type": job.state, "data": {"aliases": ids} if ids else {}}
        for job, ids in zip(rows, stood_for, strict=True)
    ]
    _record(session, events)
    labels.made(session, rows, {job.id: one.tags for job, one in zip(rows, asked, strict=True)})
    for job in rows:
        deployments.announce(session, job)
    return rows[:submitted]


def _shared_out(asked: Sequence[NewJob]) -> Sequence[NewJob]:
    """The jobs, and behind them the child jobs of those that are shared out, which wait for theirs."""
    found = list(asked)
    for place, one in enumerate(asked):
        mine = shares.shares(one.kind, one.spec)
        if not mine:
            continue
        children = range(len(found), len(found) + len(mine))
        found += [_child(one, place, share) for share in mine]
        # it only adds up what the others have reached
        found[place] = replace(one, after=(*one.after, *children), children=len(mine), nodes=None)
    return found


def _child(asked: NewJob, place: int, share: Share) -> NewJob:
    """What does one share: it needs what the job needs, and is tried as often."""
    number = f", {share.words}"
    return replace(
        asked, kind=share.kind, spec=share.spec, name=asked.name[: max(128 - len(number), 0)] + number[:128], notes="",
        tags=(), child_of=place, id=None,
    )  # fmt: skip


def new_row(asked: NewJob, spec: dict[str, Any], created_by: str, turn: int, parent_id: str | None = None, *,
            ready: bool) -> Job:  # fmt: skip
    """A job as it is recorded, outside of any session."""
    return Job(
        id=asked.id or new_id("job"), project_id=asked.project_id,
        kind=asked.kind, name=asked.name, notes=asked.notes, state=State.QUEUED if ready else State.WAITING,
        spec=spec, priority=asked.priority, max_attempts=asked.max_attempts, created_by=created_by, attempt=0,
        fence=0, created_at=now(), turn=turn, gpus=asked.gpus, nodes=asked.nodes,
        memory_bytes=asked.memory_bytes, retry_on=list(asked.retry_on) if asked.retry_on is not None else None,
        backoff_s=asked.backoff_s, time_limit_s=asked.time_limit_s, trace=asked.trace,
        parent_id=parent_id, children=asked.children,
    )  # fmt: skip


_AT_ONCE = [state for state, after in TRANSITIONS.items() if State.CANCELLED in after and state != State.RUNNING]


def _open(session: Session, scope: Scope, job_id: str, to_be: str) -> Job:
    """The job, locked: what a worker does at the same moment comes before or after. Conflict when it has ended."""
    job = scope.get(session, Job, job_id, with_for_update=True, populate_existing=True)
    if has_ended(job):
        raise Conflict(f"job {job_id} has already {ended(job.state)}; it cannot be {to_be}")
    return job


def open_children(session: Session, job: Job) -> Sequence[Job]:
    """The child jobs of a job that have not ended, locked: what is asked of the job is asked of them, in its
    transaction.
    """
    if not job.children:
        return []
    mine = select(Job).where(Job.parent_id == job.id, Job.state.not_in(TERMINAL)).order_by(Job.id)
    return session.scalars(mine.with_for_update().execution_options(populate_existing=True)).all()


def request_pause(session: Session, scope: Scope, job_id: str) -> Job:
    """Set aside at once what does not run; order a running job to write a checkpoint and stop.

    A paused job stays as it is. A job that has ended, or that is about to be cancelled, is a Conflict.
    """
    job = _open(session, scope, job_id, "paused")
    if job.stop_order == "cancel":
        raise Conflict(f"job {job_id} is being cancelled; it cannot be paused")
    pause_all(session, (job, *open_children(session, job)))
    session.refresh(job)
    return job


def pause_all(session: Session, rows: Sequence[Job]) -> None:
    """Pause jobs that the session has locked and that have not ended; those that are being cancelled stay so."""
    held = [row for row in rows if row.state in {State.WAITING, State.QUEUED}]
    running = [row for row in rows if row.state == State.RUNNING and row.stop_order is None]
    _change(session, held, {"state": State.PAUSED, "not_before": None}, "paused",
            reason="paused by its owner before it ran")  # fmt: skip
    _change(session, running, {"stop_order": "pause"}, "pause_requested")


def request_resume(session: Session, scope: Scope, job_id: str) -> Job:
    """Queue a paused job again, or let it wait for what it depends on; take a pause back that has not come yet.

    Any other job that has not ended stays as it is. Conflict when it has ended, or when its time limit is over.
    """
    job = _open(session, scope, job_id, "resumed")
    resume_all(session, (job, *open_children(session, job)), job.created_by)
    session.refresh(job)
    return job


def resume_all(session: Session, rows: Sequence[Job], owner: str) -> None:
    """Resume those of an owner's jobs, all locked by the session, that are paused or about to be. Conflict when the
    time limit of one is over.
    """
    held = [row for row in rows if row.state == State.PAUSED]
    for row in held:
        if row.time_limit_s is not None and row.ran_s >= row.time_limit_s:
            raise Conflict(
                f"job {row.id} has run for its {row.time_limit_s:g} s; raise its time_limit_s, then resume it"
            )
    withdrawn = [row for row in rows if row.state == State.RUNNING and row.stop_order == "pause"]
    found = needs(session, [row.id for row in held])
    turns = dict(zip((row.id for row in held), next_turns(session, owner, [row.priority for row in held]),
                     strict=True))  # fmt: skip
    # what names outputs by stand-ins waits until somebody has put their identifiers in
    free = {row.id for row in held if all(state == State.SUCCEEDED for state in found[row.id].values())
            and not pending.pending(row.kind, row.spec)}  # fmt: skip
    for to in (State.WAITING, State.QUEUED):
        these = [row for row in held if (row.id in free) == (to == State.QUEUED)]
        turn = case({row.id: turns[row.id] for row in these}, value=Job.id) if these else None
        _change(session, these, {"state": to, "turn": turn}, to.value, reason="resumed by its owner")
    _change(session, withdrawn, {"stop_order": None}, "pause_withdrawn")


def request_cancel(session: Session, scope: Scope, job_id: str) -> Job:
    """Cancel at once what does not run; order a running job to stop. A job that has ended is a Conflict."""
    job = _open(session, scope, job_id, "cancelled")
    cancel_all(session, (job, *open_children(session, job)))
    session.refresh(job)
    return job


def cancel_all(session: Session, rows: Sequence[Job]) -> None:
    """Cancel jobs that the session has locked and that have not ended."""
    at_once = [row for row in rows if row.state in _AT_ONCE]
    running = [row for row in rows if row.state == State.RUNNING and row.stop_order != "cancel"]
    _change(session, at_once, {"state": State.CANCELLED, "finished_at": now()}, "cancelled",
            reason="cancelled before it ran")  # fmt: skip
    leftovers.end_of_jobs(session, {row.id: bool(row.children) for row in at_once if row.fence or row.children})
    _change(session, running, {"stop_order": "cancel"}, "cancel_requested")


def _change(session: Session, rows: Sequence[Job], values: dict[str, Any], event: str, **data: Any) -> None:
    """The same change of jobs that the session has locked, and its event: two statements however many they are."""
    if not rows:
        return
    guarded = update(Job).where(Job.id.in_([row.id for row in rows]), Job.state.in_({row.state for row in rows}))
    changed(session, guarded.values(values).execution_options(synchronize_session=False))
    _tell(session, [(row, event, data) for row in rows])
    for row in rows:
        session.expire(row, list(values))


def _tell(session: Session, told: Iterable[tuple[Job, str, dict[str, Any]]]) -> None:
    """Append to the histories of jobs, as `add_event` does to one: each with its event and what belongs to that."""
    _record(
        session,
        [{"job_id": row.id, "attempt": row.attempt, "type": type_, "data": data} for row, type_, data in told],
    )


def _record(session: Session, events: list[dict[str, Any]]) -> None:
    session.execute(insert(table_of(JobEvent)), events)
    outbox.tell_of_jobs(session, events)


def prioritise(session: Session, job: Job, priority: int) -> None:
    """Another priority for a job that the session has locked; among those that have it, the job is the last of its
    owner's. Conflict when it has ended.
    """
    if priority == job.priority:
        return
    if has_ended(job):
        raise Conflict(f"job {job.id} has already {ended(job.state)}; its priority stays")
    rows = [row for row in (job, *open_children(session, job)) if row.priority != priority]
    _tell(session, [(row, "priority", {"before": row.priority, "after": priority}) for row in rows])
    turns = next_turns(session, job.created_by, [priority] * len(rows))
    for row, turn in zip(rows, turns, strict=True):
        row.priority, row.rank, row.turn = priority, -priority, turn
    session.flush()


def limit_time(session: Session, job: Job, seconds: float) -> None:
    """Another time limit, for all attempts together, of a job that the session has locked. Conflict when it has
    ended.
    """
    if seconds == job.time_limit_s:
        return
    if has_ended(job):
        raise Conflict(f"job {job.id} has already {ended(job.state)}; its time limit stays")
    rows = [row for row in (job, *open_children(session, job)) if row.time_limit_s != seconds]
    _tell(session, [(row, "time_limit", {"before": row.time_limit_s, "after": seconds}) for row in rows])
    for row in rows:
        row.time_limit_s = seconds
    session.flush()


def ended(state: str) -> str:
    """The end of a job in words, after "has"."""
    return {"succeeded": "succeeded", "failed": "failed"}.get(state, "been cancelled")


def has_ended(job: Job) -> bool:
    """True for succeeded, failed and cancelled jobs."""
    return State(job.state) in TERMINAL
