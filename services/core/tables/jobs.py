"""Jobs, and everything that a job reports as ordered rows."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Counter, Id, now, path_type
from services.core.tables.labels import Named
from services.core.tables.projects import Owned

# what jobs can be sorted by; each has an index behind the state, for one project and for all
SORTED = ("created_at", "name_key", "priority", "finished_at", "ran_s")
_FAILED = text("type = 'attempt_failed'")
_IS_CHILD = text("parent_id IS NOT NULL")
_GOES_ON = text("continues IS NOT NULL")


class Job(Owned, Named, Base):
    """A job: what was asked, where it stands, who holds it.

    `fence` grows with every claim; whatever an attempt writes must carry the present one.
    `rank` is minus the priority, for an index that sorts upwards; `turn` is its place in the fair order
    among jobs of one priority. `gpus` and `memory_bytes` are what a
    worker must have, None where it takes what there is; of a job that runs on several machines, `nodes` of them, what
    each must have. A failed attempt whose reason is in `retry_on`
    (None: the usual ones) is tried again after `backoff_s`, doubled each time, at `not_before`. `ran_s` is
    the time that earlier attempts ran, of the `time_limit_s` that all of them have together. `trace` is the
    traceparent of the request that made it. A job that is shared out has so many `children`, whose `parent_id` it is:
    it waits for them, and puts together what they have made. `continues` is the job before, which failed or was
    cancelled, whose last checkpoint it begins with.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        # the queue, in its order
        Index("ix_jobs_queue", "state", "rank", "turn", "created_at", "id"),
        # an owner's queued and running jobs: turns and quotas
        Index("ix_jobs_owner", "created_by", "state", "turn"),
        # lists, see services.core.lists
        Index("ix_jobs_created", "created_at", "id"),
        Index("ix_jobs_project", "project_id", "created_at", "id"),
        Index("ix_jobs_name", "name_key", "id"),
        Index("ix_jobs_project_name", "project_id", "name_key", "id"),
        *(Index(f"ix_jobs_by_{name}", "state", name, "id") for name in SORTED),
        *(Index(f"ix_jobs_project_by_{name}", "project_id", "state", name, "id") for name in SORTED),
        Index("ix_jobs_by_kind", "kind", "state", "created_at", "id"),
        Index("ix_jobs_project_by_kind", "project_id", "kind", "state", "created_at", "id"),
        Index("ix_jobs_by_owner", "created_by", "state", "created_at", "id"),
        Index("ix_jobs_project_by_owner", "project_id", "created_by", "state", "created_at", "id"),
        Index("ix_jobs_parent_id", "parent_id", postgresql_where=_IS_CHILD, sqlite_where=_IS_CHILD),
        Index("ix_jobs_continues", "continues", postgresql_where=_GOES_ON, sqlite_where=_GOES_ON),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(128))
    notes: Mapped[str] = mapped_column(Text, default="")
    state: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    priority: Mapped[int] = mapped_column(Integer, default=0)
    rank: Mapped[int] = mapped_column(Integer, default=lambda context: -context.get_current_parameters()["priority"])
    turn: Mapped[int] = mapped_column(BigInteger, default=0)
    gpus: Mapped[int | None] = mapped_column(Integer)
    nodes: Mapped[int | None] = mapped_column(Integer)
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer)
    retry_on: Mapped[list[Any] | None]
    backoff_s: Mapped[float] = mapped_column(Float, default=0.0)
    not_before: Mapped[datetime | None]
    time_limit_s: Mapped[float | None] = mapped_column(Float)
    ran_s: Mapped[float] = mapped_column(Float, default=0.0)
    attempt_started_at: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(Integer, default=0)
    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    stop_order: Mapped[str | None] = mapped_column(String(16))
    done: Mapped[int | None] = mapped_column(BigInteger)
    total: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str | None] = mapped_column(Text)
    eta_s: Mapped[float | None] = mapped_column(Float)
    checkpoint_step: Mapped[int | None] = mapped_column(BigInteger)
    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    trace: Mapped[str | None] = mapped_column(String(55))
    parent_id: Mapped[str | None] = mapped_column(Id)
    children: Mapped[int | None] = mapped_column(Integer)
    continues: Mapped[str | None] = mapped_column(Id)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobDependency(Base):
    """`job_id` waits for `needs_id`."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    needs_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)


class JobInput(Base):
    """A dataset or model that the job's spec names; `resource` is `dataset` or `model`."""

    __tablename__ = "job_inputs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    input_id: Mapped[str] = mapped_column(Id, primary_key=True, index=True)
    resource: Mapped[str] = mapped_column(String(16))


class JobEvent(Base):
    """A change of state, and why."""

    __tablename__ = "job_events"
    __table_args__ = (
        Index("ix_job_events_job_id_seq", "job_id", "seq"),
        # failed attempts are counted by their reasons
        Index("ix_job_events_failures", "type", postgresql_where=_FAILED, sqlite_where=_FAILED),
        # who follows all jobs goes by the number: SQLite must not give that of a deleted row to another one
        {"sqlite_autoincrement": True},
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)


class JobMetric(Base):
    """Named numbers of one step."""

    __tablename__ = "job_metrics"
    __table_args__ = (Index("ix_job_metrics_job_id_seq", "job_id", "seq"),)

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    step: Mapped[int] = mapped_column(BigInteger)
    values: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)


class JobLog(Base):
    """A line of a job's log."""

    __tablename__ = "job_logs"
    __table_args__ = (Index("ix_job_logs_job_id_seq", "job_id", "seq"),)

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int] = mapped_column(Integer)
    level: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now)


class JobArtifact(Base):
    """A file that a job kept."""

    __tablename__ = "job_artifacts"
    # lists
    __table_args__ = (
        Index("ix_job_artifacts_by_size", "job_id", "size", "name"),
        Index("ix_job_artifacts_by_type", "job_id", "content_type", "name"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(path_type(256), primary_key=True)
    key: Mapped[str] = mapped_column(String(512))
    content_type: Mapped[str] = mapped_column(String(128))
    size: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(default=now)
