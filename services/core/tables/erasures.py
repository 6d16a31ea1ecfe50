"""Erasures: whose data have to go, and what holds them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from services.core.tables.base import Base, Id, now
from services.core.tables.projects import Owned


class Erasure(Owned, Base):
    """Data of a patient or of a file that have to be erased. `patient_key` is the keyed hash of the patient, `sha256`
    that of the file, one of them; `unknown` are datasets of which nobody can say, `left` what cannot be made anew and
    why. `pipeline_id` is the one that makes the others anew, None while nobody has asked for that.
    """

    __tablename__ = "erasures"
    __table_args__ = (
        Index("ix_erasures_created", "created_at", "id"),
        Index("ix_erasures_project", "project_id", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    patient_key: Mapped[str | None] = mapped_column(String(32))
    sha256: Mapped[str | None] = mapped_column(String(64))
    unknown: Mapped[list[Any]] = mapped_column(default=list)
    left: Mapped[dict[str, Any]] = mapped_column(default=dict)
    pipeline_id: Mapped[str | None] = mapped_column(Id)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)
    marks: Mapped[list["ErasureMark"]] = relationship(
        cascade="all, delete-orphan", order_by="ErasureMark.object_id", passive_deletes=True, lazy="selectin"
    )


class ErasureMark(Base):
    """A dataset, buffer, model or deployment that holds the data; `about` says in which splits a dataset does."""

    __tablename__ = "erasure_marks"
    __table_args__ = (Index("ix_erasure_marks_object", "object_id", "erasure_id"),)

    erasure_id: Mapped[str] = mapped_column(ForeignKey("erasures.id", ondelete="CASCADE"), primary_key=True)
    object_id: Mapped[str] = mapped_column(Id, primary_key=True)
    about: Mapped[list[Any]] = mapped_column(default=list)
