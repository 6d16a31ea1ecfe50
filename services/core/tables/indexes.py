"""Indexes: the studies of datasets, found by the nearness of their embeddings."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from services.core.tables.base import Base, Counter, Id, list_indexes, now, path_type
from services.core.tables.projects import Owned


class SearchIndex(Owned, Base):
    """An index and the version of it that answers: `model_id`, `version`, `info` (IndexInfo) and `files` change at once
    when another one is whole.

    `encoder` is what was asked for, a model or an alias; `wanted_id` is the model of the newest build, `job_id` its
    job, `trouble` why there is none. A build that is not the newest one publishes nothing.
    """

    __tablename__ = "indexes"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        Index("ix_indexes_created", "created_at", "id"),
        Index("ix_indexes_project", "project_id", "created_at", "id"),
        *list_indexes("indexes", ("encoder", "model_id"), ("name",)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(Text, default="")
    encoder: Mapped[str] = mapped_column(Id)
    datasets: Mapped[list[Any]]
    options: Mapped[dict[str, Any]]
    version: Mapped[int] = mapped_column(Integer, default=0)
    model_id: Mapped[str | None] = mapped_column(Id)
    info: Mapped[dict[str, Any] | None]
    built_at: Mapped[datetime | None]
    wanted_id: Mapped[str] = mapped_column(Id)
    job_id: Mapped[str | None] = mapped_column(Id)
    trouble: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    files: Mapped[list["IndexFile"]] = relationship(
        cascade="all, delete-orphan", order_by="IndexFile.seq", passive_deletes=True
    )


class IndexFile(Base):
    """One object of the version that answers, below `indexes/ID/`: the vectors, the studies, the projection."""

    __tablename__ = "index_files"
    __table_args__ = (
        UniqueConstraint("index_id", "path"),
        # lists
        Index("ix_index_files_index", "index_id", "seq"),
        Index("ix_index_files_by_size", "index_id", "size", "seq"),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    index_id: Mapped[str] = mapped_column(ForeignKey("indexes.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(path_type(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
