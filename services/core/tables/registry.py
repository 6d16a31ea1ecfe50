"""Datasets, models and deployments."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from services.core.tables.base import Base, Counter, Id, list_indexes, now, path_type
from services.core.tables.labels import Named
from services.core.tables.projects import Owned


class Dataset(Owned, Named, Base):
    """An uploaded (raw), prepared or buffer dataset; `info` holds its DatasetInfo once it is prepared."""

    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_created", "created_at", "id"),
        Index("ix_datasets_project", "project_id", "created_at", "id"),
        *list_indexes("datasets", ("role", "state", "modality", "job_id"), ("name_key", "total_bytes")),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(Text, default="")
    role: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    modality: Mapped[str | None] = mapped_column(String(32))
    prefix: Mapped[str] = mapped_column(String(256))
    info: Mapped[dict[str, Any] | None]
    file_count: Mapped[int] = mapped_column(Integer, default=0)
    total_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    parents: Mapped[list[Any]] = mapped_column(default=list)
    job_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    files: Mapped[list["DatasetFile"]] = relationship(
        cascade="all, delete-orphan", order_by="DatasetFile.seq", passive_deletes=True
    )


class DatasetFile(Base):
    """One object of a dataset."""

    __tablename__ = "dataset_files"
    __table_args__ = (
        UniqueConstraint("dataset_id", "path"),
        # lists
        Index("ix_dataset_files_dataset", "dataset_id", "seq"),
        Index("ix_dataset_files_by_size", "dataset_id", "size", "seq"),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(path_type(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))


class Model(Owned, Named, Base):
    """A trained model; `info` holds its ModelInfo, `task` and `modality` are taken from there."""

    __tablename__ = "models"
    __table_args__ = (
        Index("ix_models_created", "created_at", "id"),
        Index("ix_models_project", "project_id", "created_at", "id"),
        *list_indexes("models", ("task", "modality", "job_id", "dataset_id"), ("name_key",)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    notes: Mapped[str] = mapped_column(Text, default="")
    task: Mapped[str] = mapped_column(String(32))
    modality: Mapped[str] = mapped_column(String(32))
    prefix: Mapped[str] = mapped_column(String(256))
    info: Mapped[dict[str, Any]]
    parents: Mapped[list[Any]] = mapped_column(default=list)
    dataset_id: Mapped[str | None] = mapped_column(Id)
    job_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now)
    files: Mapped[list["ModelFile"]] = relationship(
        cascade="all, delete-orphan", order_by="ModelFile.seq", passive_deletes=True
    )


class ModelFile(Base):
    """One object of a model."""

    __tablename__ = "model_files"
    __table_args__ = (
        UniqueConstraint("model_id", "path"),
        # lists
        Index("ix_model_files_model", "model_id", "seq"),
        Index("ix_model_files_by_size", "model_id", "size", "seq"),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(path_type(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))


class Deployment(Owned, Base):
    """A version of a served model; of a name's ready versions that which was activated last answers.

    `version` is null until its export begins; `ready_at` is when it first was ready, and `error` why it has failed.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        Index("ix_deployments_created", "created_at", "id"),
        Index("ix_deployments_project", "project_id", "created_at", "id"),
        *list_indexes("deployments", ("state", "model_id", "job_id"), ("name",)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(16))
    info: Mapped[dict[str, Any]]
    error: Mapped[dict[str, Any] | None]
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    job_id: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now)
    ready_at: Mapped[datetime | None]
    activated_at: Mapped[datetime | None]
