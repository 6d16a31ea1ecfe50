"""Webhooks of projects: make, change, rotate, remove, and what was sent to them."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from services.core import outbox
from services.core.errors import Conflict, NotFound
from services.core.ids import new_id
from services.core.scope import Scope
from services.core.sealing import Seal
from services.core.signing import new_secret
from services.core.tables import Delivery, Project, Webhook
from services.core.tables.base import now

MOST = 20


def create(session: Session, seal: Seal, project_id: str, url: str, topics: Sequence[str], description: str,
           created_by: str) -> tuple[Webhook, str]:  # fmt: skip
    """A webhook and its secret, which is not told again. Conflict when the project has MOST of them."""
    # two at once are counted one after the other
    session.get(Project, project_id, with_for_update=True)
    count = session.scalars(select(func.count()).where(Webhook.project_id == project_id)).one()
    if count >= MOST:
        raise Conflict(
            f"the project has {count} webhooks, {MOST} are allowed; remove one, or have one take more topics"
        )
    secret = new_secret()
    row = Webhook(id=new_id("whk"), project_id=project_id, url=url, topics=list(topics), description=description,
                  secret=seal.close(secret), created_by=created_by)  # fmt: skip
    session.add(row)
    session.flush()
    return row, secret


def get(session: Session, scope: Scope, webhook_id: str, *, lock: bool = False) -> Webhook:
    """The webhook, or NotFound."""
    return scope.get(session, Webhook, webhook_id, with_for_update=True if lock else None)


def change(session: Session, row: Webhook, *, url: str | None, topics: Sequence[str] | None, description: str | None,
           active: bool | None) -> None:  # fmt: skip
    """Change what is not None. Switched on again, it has failed nothing, and what waited is due."""
    if url is not None:
        row.url = url
    if topics is not None:
        row.topics = list(topics)
    if description is not None:
        row.description = description
    if active and not row.active:
        row.failing_since = row.disabled_reason = None
    if active is not None:
        row.active = active
    session.flush()


def rotate(session: Session, seal: Seal, row: Webhook, grace_s: float) -> str:
    """A new secret; messages are signed with the one before, too, for `grace_s` more."""
    secret = new_secret()
    row.previous_secret, row.previous_until = row.secret, now() + timedelta(seconds=grace_s)
    row.secret = seal.close(secret)
    session.flush()
    return secret


def remove(session: Session, row: Webhook) -> None:
    """Remove a webhook and what was sent to it; what is on its way may still arrive."""
    session.execute(delete(Delivery).where(Delivery.webhook_id == row.id))
    session.delete(row)


def test(session: Session, row: Webhook) -> Delivery:
    """Send a message that says nothing. Conflict when the webhook is off."""
    _check_active(row)
    made = outbox.write(session, row.id, outbox.TEST, {"webhook_id": row.id, "project_id": row.project_id})
    session.flush()
    return made


def redeliver(session: Session, row: Webhook, delivery_id: str) -> Delivery:
    """Send a message again, under the same id. Conflict while it is still being tried, or when the webhook is off."""
    _check_active(row)
    wanted = select(Delivery).where(Delivery.webhook_id == row.id, Delivery.id == delivery_id).with_for_update()
    found = session.scalars(wanted).one_or_none()
    if found is None:
        raise NotFound(f"there is no delivery {delivery_id} of this webhook")
    if found.state == "pending":
        raise Conflict(f"{delivery_id} is still being sent; wait until it is delivered or has failed")
    found.state, found.claim, found.attempts, found.finished_at = "pending", None, 0, None
    found.asked_at = found.next_at = now()
    session.flush()
    return found


def _check_active(row: Webhook) -> None:
    if not row.active:
        raise Conflict(f"webhook {row.id} is switched off; switch it on first (active: true)")
