"""Projects, which own everything else."""

import secrets
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id, list_indexes, now

# made by the migrations; what was there before projects were belongs to it
DEFAULT_PROJECT = "prj_default"


class Project(Base):
    """A group of people and their datasets, jobs, models and deployments, which nobody else sees."""

    __tablename__ = "projects"
    __table_args__ = (
        Index("ix_projects_created", "created_at", "id"), *list_indexes("projects", (), ("name",), owned=False),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    # keys the hashes that stand for patients: the datasets of a project can be compared, and nobody without it can try
    # identifiers out. It never changes, or patients would not be known again
    patient_salt: Mapped[str] = mapped_column(String(64), default=lambda: secrets.token_hex(32))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Owned:
    """What belongs to a project: a mixin of tables. `services.core.scope` decides who sees the rows."""

    id: Mapped[str]
    created_at: Mapped[datetime]
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
