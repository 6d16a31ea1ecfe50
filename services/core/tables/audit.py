"""Who has done what."""

from datetime import datetime

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Counter, Id, now


class AuditEntry(Base):
    """One write, or one attempt to come in without a good key. Triggers refuse every change and every deletion.

    `route` is the path with its placeholders, `path` the one that was asked for, without its query.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_at", "at", "seq"),
        *(Index(f"ix_audit_by_{name}", name, "at", "seq") for name in ("actor", "key_id", "outcome", "route")),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    actor: Mapped[str | None] = mapped_column(String(128))
    key_id: Mapped[str | None] = mapped_column(Id)
    address: Mapped[str | None] = mapped_column(String(64))
    method: Mapped[str] = mapped_column(String(16))
    route: Mapped[str] = mapped_column(String(128))
    path: Mapped[str] = mapped_column(String(256))
    request_id: Mapped[str] = mapped_column(Id, index=True)
    status: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str] = mapped_column(String(16))
    detail: Mapped[str | None] = mapped_column(Text)
