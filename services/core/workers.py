"""Who works: what each worker offers and does, and which have fallen silent."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from services.core.jobs import changed
from services.core.tables.base import now
from services.core.tables.workers import Worker

BEAT_S = 5.0
SILENT = timedelta(seconds=30)
REMEMBERED = timedelta(days=3)


class WorkerState(StrEnum):
    """What a worker does; one that drains ends its job and takes no other, one that is gone was not heard of lately."""

    IDLE = "idle"
    RUNNING = "running"
    DRAINING = "draining"
    GONE = "gone"


@dataclass(frozen=True)
class Beat:
    """What a worker says of itself. Sizes in bytes, `gpu_utilisation` 0 to 1; None where it cannot tell."""

    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    gpus: int
    gpu_model: str | None
    gpu_memory_bytes: int | None
    memory_bytes: int | None
    cpus: int
    started_at: datetime
    state: WorkerState
    nodes: int | None = None
    job_id: str | None = None
    gpu_utilisation: float | None = None
    gpu_memory_used_bytes: int | None = None


def heard(session: Session, beat: Beat) -> None:
    """Record that a worker lives; only the worker itself calls this."""
    values = asdict(beat) | {"seen_at": now()}
    if changed(session, update(Worker).where(Worker.name == beat.name).values(**values)) == 0:
        session.add(Worker(**values))
        session.flush()


def left(session: Session, name: str) -> None:
    """Record that a worker has ended as it should."""
    mark = update(Worker).where(Worker.name == name)
    session.execute(mark.values(state=WorkerState.GONE, job_id=None, gpu_utilisation=None, gpu_memory_used_bytes=None))


def mark_silent(session: Session, moment: datetime) -> None:
    """Workers that were silent for SILENT are gone; those of REMEMBERED ago are forgotten."""
    silent = update(Worker).where(Worker.seen_at < moment - SILENT, Worker.state != WorkerState.GONE)
    session.execute(silent.values(state=WorkerState.GONE))
    session.execute(delete(Worker).where(Worker.seen_at < moment - REMEMBERED))


def state_of(worker: Worker, moment: datetime) -> WorkerState:
    """Its state now, also before the sweeper has noticed that it is gone."""
    return WorkerState.GONE if worker.seen_at < moment - SILENT else WorkerState(worker.state)


def known(session: Session) -> Sequence[Worker]:
    """All workers that are remembered, by name."""
    return session.scalars(select(Worker).order_by(Worker.name)).all()


_ALIVE = (
    select(Worker).where(Worker.seen_at >= bindparam("heard_after"), Worker.state != WorkerState.GONE)
    .order_by(Worker.name)
)  # fmt: skip


def alive(session: Session, moment: datetime) -> Sequence[Worker]:
    """Workers that were heard of lately and have not said good-bye, by name."""
    return session.scalars(_ALIVE, {"heard_after": moment - SILENT}).all()
