"""Workers that have made themselves known."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id, now


class Worker(Base):
    """A worker process: what it offers to jobs, what it does, and when it was last heard of.

    `nodes` is on how many machines at once it has jobs run by others, None for one that runs them itself.
    `name` is what `Job.worker` holds. Sizes in bytes; `gpu_utilisation` is the mean share over its GPUs, 0 to 1.
    What a machine does not tell is None.
    """

    __tablename__ = "workers"
    # lists
    __table_args__ = (
        Index("ix_workers_seen_at", "seen_at", "name"),
        Index("ix_workers_started_at", "started_at", "name"),
        Index("ix_workers_state", "state", "name"),
        Index("ix_workers_host", "host", "name"),
    )

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(32))
    queues: Mapped[list[Any]]
    gpus: Mapped[int] = mapped_column(Integer)
    nodes: Mapped[int | None] = mapped_column(Integer)
    gpu_model: Mapped[str | None] = mapped_column(String(128))
    gpu_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    cpus: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    job_id: Mapped[str | None] = mapped_column(Id)
    gpu_utilisation: Mapped[float | None] = mapped_column(Float)
    gpu_memory_used_bytes: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
