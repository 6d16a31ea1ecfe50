"""What the database knows of the platform, in a handful of indexed questions: for metrics."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, literal_column, or_, select, text
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql import ColumnElement

from services.core import workers
from services.core.lifecycle import State
from services.core.scheduling import RETRIED
from services.core.tables import Delivery, Job, JobEvent, JobMetric, Leftover, Webhook, Worker

RESOURCE_CLASSES = ("cpu", "gpu", "machines")
REASONS = (*RETRIED, "data", "time_limit")
TIMEOUT_MS = 2000
# of more queued jobs of a class than these, the oldest by submission are looked at
LOOKED_AT = 1000
# a literal: only then is the index on failures taken
_FAILURES: ColumnElement[str] = literal_column("'attempt_failed'")


@dataclass(frozen=True)
class WorkerFigures:
    """A worker that lives: `silent_s` since it was last heard of; None where its machine does not tell."""

    name: str
    state: str
    silent_s: float
    gpus: int
    gpu_utilisation: float | None
    gpu_memory_used_bytes: int | None
    gpu_memory_bytes: int | None


@dataclass(frozen=True)
class Waiting:
    """How many wait, and how long the oldest of them has been due, in seconds; 0 where nothing waits."""

    number: int
    oldest_s: float


@dataclass(frozen=True)
class Training:
    """Jobs of one kind that run: samples a second of all, and seconds since the last numbers of the most silent."""

    samples_per_s: float = 0.0
    silent_s: float = 0.0


@dataclass(frozen=True)
class Figures:
    """Numbers of one moment; `oldest_s` are ages in seconds, 0 where nothing waits. `expired` leases are those that no
    sweep has seen to, `disabled` the webhooks that the platform has switched off.
    """

    jobs: dict[str, int]
    queued: dict[str, int]
    oldest_s: dict[str, float]
    expired: int
    failures: dict[str, int]
    trainings: dict[str, Training]
    leftovers: Waiting
    messages: Waiting
    disabled: int
    workers: list[WorkerFigures]


def figures(session: Session, moment: datetime) -> Figures:
    """Look all of it up. On PostgreSQL a question that takes longer than TIMEOUT_MS is an OperationalError."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = {TIMEOUT_MS}"))
    counts: dict[str, int] = {row[0]: row[1] for row in session.execute(_by(Job.state))}
    queued: dict[str, int] = {row[0]: row[1] for row in session.execute(_by(_class()).where(Job.state == State.QUEUED))}
    expired = select(func.count()).where(Job.state == State.RUNNING, Job.lease_until < moment)
    disabled = select(func.count()).where(Webhook.disabled_reason.is_not(None))
    return Figures(
        jobs={state.value: counts.get(state.value, 0) for state in State},
        queued={name: queued.get(name, 0) for name in RESOURCE_CLASSES},
        oldest_s=_oldest(session, moment),
        expired=session.scalars(expired).one(),
        failures=_failures(session),
        trainings=_trainings(session, moment),
        leftovers=_waiting(session, moment, _due(Leftover.remove_at, moment)),
        messages=_waiting(
            session,
            moment,
            _due(Delivery.next_at, moment)
            .join(Webhook, Webhook.id == Delivery.webhook_id)
            .where(Delivery.state == "pending", Webhook.active),
        ),
        disabled=session.scalars(disabled).one(),
        workers=[_worker(row, moment) for row in workers.alive(session, moment)],
    )


def _worker(row: Worker, moment: datetime) -> WorkerFigures:
    return WorkerFigures(
        row.name, row.state, _age(row.seen_at, moment), row.gpus, row.gpu_utilisation, row.gpu_memory_used_bytes,
        row.gpu_memory_bytes,
    )  # fmt: skip


def _by(column: Any) -> Any:
    return select(column, func.count()).group_by(column)


def _class() -> Any:
    return case((Job.nodes.is_not(None), "machines"), (Job.gpus > 0, "gpu"), else_="cpu")


def _age(since: datetime | None, moment: datetime) -> float:
    return max((moment - since).total_seconds(), 0.0) if since is not None else 0.0


def _due(column: Any, moment: datetime) -> Select[Any]:
    return select(func.count(), func.min(column)).where(column <= moment)


def _waiting(session: Session, moment: datetime, due: Select[Any]) -> Waiting:
    number, oldest = session.execute(due).one()
    return Waiting(number, _age(oldest, moment))


def _oldest(session: Session, moment: datetime) -> dict[str, float]:
    """How long the job that has been queued longest has been so; one that waits for its next attempt is not due."""
    due = or_(Job.not_before.is_(None), Job.not_before <= moment)
    found: dict[str, float] = {}
    for name in RESOURCE_CLASSES:
        looked_at = (
            select(Job.id)
            .where(Job.state == State.QUEUED, due, _class() == name)
            .order_by(Job.created_at)
            .limit(LOOKED_AT)
            .subquery()
        )
        since = (
            select(func.max(JobEvent.at).label("at"))
            .join(looked_at, JobEvent.job_id == looked_at.c.id)
            .where(JobEvent.type == State.QUEUED)
            .group_by(JobEvent.job_id)
            .subquery()
        )
        found[name] = _age(session.scalars(select(func.min(since.c.at))).one(), moment)
    return found


def _failures(session: Session) -> dict[str, int]:
    """Failed attempts by their typed reason, of all time."""
    reason = JobEvent.data[("problem", "reason")].as_string()
    rows = session.execute(select(reason, func.count()).where(JobEvent.type == _FAILURES).group_by(reason))
    # also those that have not been there: an increase is seen from 0 on
    return dict.fromkeys(REASONS, 0) | {row[0] or "unknown": row[1] for row in rows}


def _trainings(session: Session, moment: datetime) -> dict[str, Training]:
    """By job kind, from the last numbers that the present attempts of jobs that run have told."""
    theirs = aliased(JobMetric)
    newest = select(func.max(theirs.seq)).where(theirs.job_id == Job.id).scalar_subquery()
    rows = session.execute(
        select(Job.kind, JobMetric.values, JobMetric.at)
        .join(JobMetric, JobMetric.seq == newest)
        .where(Job.state == State.RUNNING, JobMetric.attempt == Job.attempt)
    )
    found: dict[str, Training] = {}
    for kind, values, at in rows:
        if isinstance(pace := values.get("samples_per_s"), int | float):
            known = found.get(kind, Training())
            found[kind] = Training(known.samples_per_s + pace, max(known.silent_s, _age(at, moment)))
    return found
