"""Requests that may be repeated."""

from datetime import datetime
from typing import Any

from sqlalchemy import Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id, now


class IdempotencyKey(Base):
    """A key that a caller gave to a request, what was asked (`digest`), and the answer, until `expires_at`.

    Without a `status` the request is being carried out, at the latest until `lease_until`. Answers that hold secrets
    have no `body`; `made` is the identifier of what was made.
    """

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    method: Mapped[str] = mapped_column(String(8))
    path: Mapped[str] = mapped_column(String(256))
    digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[str | None] = mapped_column(Text)
    made: Mapped[str | None] = mapped_column(Id)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    lease_until: Mapped[datetime | None]
