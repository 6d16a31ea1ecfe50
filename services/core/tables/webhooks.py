"""Webhooks, and the messages that are on their way to them."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Counter, Id, list_indexes, now
from services.core.tables.projects import Owned


class Webhook(Owned, Base):
    """Where a project wants to be told of what. Secrets are sealed (see `services.core.sealing`).

    `failing_since` is the first failure after the last success; `disabled_reason` says why it was switched off by the
    platform.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("ix_webhooks_project", "project_id", "created_at", "id"),
        Index("ix_webhooks_created", "created_at", "id"),
        *list_indexes("webhooks", ("active",), ()),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, default="")
    topics: Mapped[list[Any]]
    active: Mapped[bool] = mapped_column(default=True)
    secret: Mapped[str] = mapped_column(Text)
    previous_secret: Mapped[str | None] = mapped_column(Text)
    previous_until: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Delivery(Base):
    """A message for one webhook, written in the transaction of what it tells of.

    `state` is pending, delivered or failed; a pending one is due at `next_at`, and whoever sends it holds it by `claim`
    until then. Patience with it begins at `asked_at`. `webhook_id` is no foreign key: a webhook that is removed at this
    moment must not make a job's change of state fail.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        # what is due, by webhook
        Index("ix_webhook_deliveries_due", "state", "webhook_id", "next_at"),
        # lists
        Index("ix_webhook_deliveries_webhook", "webhook_id", "created_at", "seq"),
        Index("ix_webhook_deliveries_by_state", "webhook_id", "state", "created_at", "seq"),
        Index("ix_webhook_deliveries_by_topic", "webhook_id", "topic", "created_at", "seq"),
    )

    seq: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(Id, unique=True)
    webhook_id: Mapped[str] = mapped_column(Id)
    topic: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16), default="pending")
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    claim: Mapped[str | None] = mapped_column(Id)
    next_at: Mapped[datetime | None] = mapped_column(default=now)
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    excerpt: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    asked_at: Mapped[datetime] = mapped_column(default=now)
    sent_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
