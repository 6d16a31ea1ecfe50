"""Stored objects that no record owns."""

from datetime import datetime

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id


class Leftover(Base):
    """Objects below `prefix` that no record owns: what an attempt is about to store, or what was deleted.

    Those of an attempt are its own for as long as `fence` is the present one of the running `job_id`.
    Otherwise the sweeper removes them from `remove_at` on; the row stays until `watch_until`, because
    an upload that had begun may still arrive.
    """

    __tablename__ = "leftovers"

    prefix: Mapped[str] = mapped_column(String(256), primary_key=True)
    job_id: Mapped[str | None] = mapped_column(Id, index=True)
    fence: Mapped[int | None] = mapped_column(Integer)
    remove_at: Mapped[datetime | None] = mapped_column(index=True)
    watch_until: Mapped[datetime | None]
