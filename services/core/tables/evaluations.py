"""Evaluations: the scores of one model on one split of a dataset."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from services.core.tables.base import Base, Counter, Id, list_indexes, now, path_type
from services.core.tables.projects import Owned


class Evaluation(Owned, Base):
    """One evaluation; `info` holds its EvaluationInfo without the cases, which are in its file `evaluation.json`.

    `score` is the metric named `headline`, so that lists are sorted by it. The names of model and dataset stand here,
    too: an evaluation stays when they are deleted. `encoder_id` is what the model was fine-tuned from, None when that
    began from scratch; `seed` and `fold` are those of its training, where they are known.
    """

    __tablename__ = "evaluations"
    __table_args__ = (
        Index("ix_evaluations_created", "created_at", "id"),
        Index("ix_evaluations_project", "project_id", "created_at", "id"),
        *list_indexes("evaluations", ("dataset_id", "model_id", "encoder_id", "task", "split", "job_id"), ("score",)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    model_id: Mapped[str] = mapped_column(Id)
    model_name: Mapped[str] = mapped_column(String(128))
    encoder_id: Mapped[str | None] = mapped_column(Id)
    dataset_id: Mapped[str] = mapped_column(Id)
    dataset_name: Mapped[str] = mapped_column(String(128))
    split: Mapped[str] = mapped_column(String(16))
    task: Mapped[str] = mapped_column(String(32))
    headline: Mapped[str] = mapped_column(String(128))
    score: Mapped[float] = mapped_column(Float)
    seed: Mapped[int | None] = mapped_column(BigInteger)
    fold: Mapped[int | None] = mapped_column(Integer)
    info: Mapped[dict[str, Any]]
    job_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now)
    files: Mapped[list["EvaluationFile"]] = relationship(
        cascade="all, delete-orphan", order_by="EvaluationFile.seq", passive_deletes=True
    )


class EvaluationFile(Base):
    """One object of an evaluation, below `evaluations/ID/`: a picture, the scores of the cases."""

    __tablename__ = "evaluation_files"
    __table_args__ = (
        UniqueConstraint("evaluation_id", "path"),
        # lists
        Index("ix_evaluation_files_evaluation", "evaluation_id", "seq"),
        Index("ix_evaluation_files_by_size", "evaluation_id", "size", "seq"),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    evaluation_id: Mapped[str] = mapped_column(ForeignKey("evaluations.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(path_type(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
