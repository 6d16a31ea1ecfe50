"""What the database knows of the platform, in a handful of indexed questions: for metrics."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, func, literal_column, or_, select, text
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql import ColumnElement

from services.core import workers
from services.core.lifecycle import State
from services.core.tables import Job, JobEvent, JobMetric, Leftover, Worker

RESOURCE_CLASSES = ("cpu", "gpu")
TIMEOUT_MS = 2000
# of more queued jobs than these, the oldest by submission are looked at
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
class Figures:
    """Numbers of one moment; `oldest_s` and `leftover_s` are ages in seconds, 0 where nothing waits."""

    jobs: dict[str, int]
    queued: dict[str, int]
    oldest_s: dict[str, float]
    failures: dict[str, int]
    samples_per_s: dict[str, float]
    leftovers: int
    leftover_s: float
    workers: list[WorkerFigures]


def figures(session: Session, moment: datetime) -> Figures:
    """Look all of it up. On PostgreSQL a question that takes longer than TIMEOUT_MS is an OperationalError."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = {TIMEOUT_MS}"))
    counts: dict[str, int] = {row[0]: row[1] for row in session.execute(_by(Job.state))}
    queued: dict[str, int] = {row[0]: row[1] for row in session.execute(_by(_class()).where(Job.state == State.QUEUED))}
    leftovers, oldest = session.execute(
        select(func.count(), func.min(Leftover.remove_at)).where(Leftover.remove_at <= moment)
    ).one()
    return Figures(
        jobs={state.value: counts.get(state.value, 0) for state in State},
        queued={name: queued.get(name, 0) for name in RESOURCE_CLASSES},
        oldest_s=_oldest(session, moment),
        failures=_failures(session),
        samples_per_s=_pace(session),
        leftovers=leftovers,
        leftover_s=_age(oldest, moment),
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
    return case((Job.gpus > 0, "gpu"), else_="cpu")


def _age(since: datetime | None, moment: datetime) -> float:
    return max((moment - since).total_seconds(), 0.0) if since is not None else 0.0


def _oldest(session: Session, moment: datetime) -> dict[str, float]:
    """How long the job that has been queued longest has been so; one that waits for its next attempt is not due."""
    due = or_(Job.not_before.is_(None), Job.not_before <= moment)
    looked_at = (
        select(Job.id, _class().label("resource_class"))
        .where(Job.state == State.QUEUED, due)
        .order_by(Job.created_at)
        .limit(LOOKED_AT)
        .subquery()
    )
    since = (
        select(looked_at.c.resource_class, func.max(JobEvent.at))
        .select_from(looked_at)
        .join(JobEvent, JobEvent.job_id == looked_at.c.id)
        .where(JobEvent.type == State.QUEUED)
        .group_by(looked_at.c.id, looked_at.c.resource_class)
    )
    found = dict.fromkeys(RESOURCE_CLASSES, 0.0)
    for name, at in session.execute(since):
        found[name] = max(found[name], _age(at, moment))
    return found


def _failures(session: Session) -> dict[str, int]:
    """Failed attempts by their typed reason, of all time."""
    reason = JobEvent.data[("problem", "reason")].as_string()
    rows = session.execute(select(reason, func.count()).where(JobEvent.type == _FAILURES).group_by(reason))
    return {row[0] or "unknown": row[1] for row in rows}


def _pace(session: Session) -> dict[str, float]:
    """Samples a second by job kind, from the last numbers of the jobs that run."""
    theirs = aliased(JobMetric)
    newest = select(func.max(theirs.seq)).where(theirs.job_id == Job.id).scalar_subquery()
    rows = session.execute(
        select(Job.kind, JobMetric.values).join(JobMetric, JobMetric.seq == newest).where(Job.state == State.RUNNING)
    )
    found: dict[str, float] = {}
    for kind, values in rows:
        if isinstance(pace := values.get("samples_per_s"), int | float):
            found[kind] = found.get(kind, 0.0) + pace
    return found
