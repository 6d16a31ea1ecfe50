"""Comparisons of the object store with what rows own, and what each has found."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Counter, Id, list_indexes, now


class GcRun(Base):
    """One run of the garbage collector: queued, running, succeeded, failed or cancelled.

    `unfinished` is 1 until it has ended, then NULL: there is one at a time. Whoever runs it carries the present
    `fence` until `lease_until`. `listed` objects of about `expected` were looked at; `report` counts them by what was
    found: `{verdict: {"objects": n, "bytes": n}}`.
    """

    __tablename__ = "gc_runs"
    __table_args__ = (
        Index("ix_gc_runs_created", "created_at", "id"),
        *list_indexes("gc_runs", ("state", "dry_run"), (), owned=False),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    dry_run: Mapped[bool]
    state: Mapped[str] = mapped_column(String(16), default="queued")
    unfinished: Mapped[int | None] = mapped_column(Integer, unique=True)
    stop: Mapped[bool] = mapped_column(default=False)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[datetime | None]
    grace_s: Mapped[float] = mapped_column(Float)
    keep_checkpoints: Mapped[int | None] = mapped_column(Integer)
    max_fraction: Mapped[float] = mapped_column(Float)
    stage: Mapped[str] = mapped_column(String(16), default="listing")
    listed: Mapped[int] = mapped_column(BigInteger, default=0)
    expected: Mapped[int] = mapped_column(BigInteger, default=0)
    report: Mapped[dict[str, Any]] = mapped_column(default=dict)
    removed: Mapped[int] = mapped_column(BigInteger, default=0)
    removed_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class GcFinding(Base):
    """What a run has found in one folder, or missing of one owner. `oldest` and `newest` are times of change."""

    __tablename__ = "gc_findings"
    __table_args__ = (
        Index("ix_gc_findings_run", "run_id", "seq"),
        # lists
        *(Index(f"ix_gc_findings_by_{name}", "run_id", name, "seq") for name in ("kind", "owner", "objects", "bytes")),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("gc_runs.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    prefix: Mapped[str] = mapped_column(String(1024))
    owner: Mapped[str | None] = mapped_column(Id)
    owner_name: Mapped[str | None] = mapped_column(String(128))
    objects: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    oldest: Mapped[datetime | None]
    newest: Mapped[datetime | None]
    examples: Mapped[list[Any]]
    removed: Mapped[int] = mapped_column(BigInteger, default=0)
    removed_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
