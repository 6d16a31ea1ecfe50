"""Names under which models are served."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, now


class ServedName(Base):
    """A name that belongs to the project that took it first: Triton knows each name once.

    `last_version` is the highest number that was ever given out under it, `taken_at` the last time that an export
    began.
    """

    __tablename__ = "served_names"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    last_version: Mapped[int] = mapped_column(Integer, default=0)
    taken_at: Mapped[datetime] = mapped_column(default=now, index=True)
