"""API keys, hashed."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id, list_indexes, now


class ApiKey(Base):
    """A key that opens the API: only the SHA-256 of its secret is kept, and that of the secret before until
    `previous_until`. `owner` is the person or program it was given to.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_created", "created_at", "id"),
        *list_indexes("api_keys", ("owner", "role"), ("name", "last_used_at", "expires_at"), owned=False),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    owner: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    previous_digest: Mapped[str | None] = mapped_column(String(64), index=True)
    previous_until: Mapped[datetime | None]
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class KeyProject(Base):
    """A project that a key opens; administrators' keys open all and have no such rows."""

    __tablename__ = "key_projects"

    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True, index=True)
