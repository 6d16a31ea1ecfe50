"""Pipelines: jobs that name each other's outputs, asked for as a whole."""

from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, Float, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from services.core.tables.base import Base, Id, list_indexes, now
from services.core.tables.labels import Named
from services.core.tables.projects import Owned


class Pipeline(Owned, Named, Base):
    """A pipeline; its state is that of its steps' jobs. `told` is how it has ended as far as webhooks know, None before
    it has.

    `rerun_of` is the pipeline that it was made from with other parameters; `curriculum` what its steps were expanded
    from.
    """

    __tablename__ = "pipelines"
    __table_args__ = (
        Index("ix_pipelines_created", "created_at", "id"),
        Index("ix_pipelines_project", "project_id", "created_at", "id"),
        Index("ix_pipelines_told", "told"),
        *list_indexes("pipelines", ("created_by", "rerun_of"), ("name_key",)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    notes: Mapped[str] = mapped_column(Text, default="")
    told: Mapped[str | None] = mapped_column(String(16))
    rerun_of: Mapped[str | None] = mapped_column(Id)
    curriculum: Mapped[dict[str, Any] | None]
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    steps: Mapped[list["PipelineStep"]] = relationship(
        cascade="all, delete-orphan", order_by="PipelineStep.position", passive_deletes=True
    )


class PipelineStep(Base):
    """A step of a pipeline: what was `asked`, with the names of other steps in it, and the job that does it.

    `reused`: the job is that of a step which had the same inputs and the same spec, see `services.core.pipelines.keys`;
    `key` stands for both. `earlier` are the jobs that have failed before the present one. `expected_s` is how long the
    job was supposed to run when it was submitted, in seconds.
    """

    __tablename__ = "pipeline_steps"
    __table_args__ = (Index("ix_pipeline_steps_job_id", "job_id"), Index("ix_pipeline_steps_key", "key"))

    pipeline_id: Mapped[str] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    asked: Mapped[dict[str, Any]]
    job_id: Mapped[str] = mapped_column(Id)
    reused: Mapped[bool] = mapped_column(Boolean, default=False)
    key: Mapped[str | None] = mapped_column(String(64))
    expected_s: Mapped[float | None] = mapped_column(Float)
    earlier: Mapped[list[Any]] = mapped_column(default=list)
