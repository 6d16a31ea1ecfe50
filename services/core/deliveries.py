"""Messages on their way to webhooks: who sends which, and what became of it.

Several processes may send at once: each takes other messages, for as long as `HELD`. One that dies has its messages
sent again by another, under the same id: a message arrives at least once.
"""

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from services.core import outbox
from services.core.jobs import changed
from services.core.tables import Delivery, Webhook
from services.core.tables.base import now

# longer than a round of one webhook can take
HELD = timedelta(minutes=3)
HOOKS, EACH = 50, 10
FIRST_PAUSE_S, GROWTH, LONGEST_PAUSE_S = 5.0, 3.0, 12 * 3600.0
KEPT = timedelta(days=30)
BATCH = 1000
GONE = 410
_log = structlog.get_logger()


@dataclass(frozen=True)
class Parcel:
    """A message that this process sends, and where to; secrets are sealed."""

    seq: int
    id: str
    claim: str
    payload: dict[str, Any]
    attempt: int
    asked_at: datetime


@dataclass(frozen=True)
class Round:
    """What one webhook is sent now, in order."""

    webhook_id: str
    url: str
    secrets: tuple[str, ...]
    parcels: tuple[Parcel, ...]


@dataclass(frozen=True)
class Result:
    """How sending went: the answer's status if there was one, and what was wrong, None when nothing was."""

    status: int | None = None
    error: str | None = None
    excerpt: str | None = None
    wait_s: float | None = None


def take(session: Session, moment: datetime) -> list[Round]:
    """The next messages of each webhook that has any, held by this process for a while."""
    due = select(Delivery.webhook_id).where(Delivery.state == "pending", Delivery.next_at <= moment).distinct()
    hooks = session.scalars(select(Webhook).where(Webhook.id.in_(due), Webhook.active).limit(HOOKS)).all()
    rounds = (_round(session, hook, moment) for hook in hooks)
    return [one for one in rounds if one.parcels]


def _round(session: Session, hook: Webhook, moment: datetime) -> Round:
    due = select(Delivery).where(Delivery.webhook_id == hook.id, Delivery.state == "pending",
                                 Delivery.next_at <= moment)  # fmt: skip
    claim, parcels = secrets.token_hex(8), []
    for row in session.scalars(
        due.order_by(Delivery.next_at, Delivery.seq).limit(EACH).with_for_update(skip_locked=True)
    ):
        row.claim, row.next_at, row.attempts = claim, moment + HELD, row.attempts + 1
        parcels.append(Parcel(row.seq, row.id, claim, row.payload, row.attempts, row.asked_at))
    valid = [hook.secret]
    if hook.previous_secret is not None and hook.previous_until is not None and hook.previous_until > moment:
        valid.append(hook.previous_secret)
    session.flush()
    return Round(hook.id, hook.url, tuple(valid), tuple(parcels))


def give_back(session: Session, parcels: Sequence[Parcel]) -> None:
    """These were not tried: they are due again."""
    for parcel in parcels:
        changed(session, _held(parcel).values(claim=None, next_at=now(), attempts=Delivery.attempts - 1))


def _held(parcel: Parcel) -> Any:
    return update(Delivery).where(
        Delivery.seq == parcel.seq, Delivery.claim == parcel.claim, Delivery.state == "pending"
    ).execution_options(synchronize_session=False)  # fmt: skip


def settle(session: Session, webhook_id: str, parcel: Parcel, result: Result, patience_s: float) -> str | None:
    """Write down how a message went; its state then, or None when this process no longer holds it.

    A failed one is tried again after a pause, or given up when its patience is over. A webhook that has failed for
    that long, or that says it is gone, is switched off, and the project's other webhooks are told.
    """
    moment = now()
    known = {"claim": None, "status": result.status, "error": result.error, "excerpt": result.excerpt,
             "sent_at": moment}  # fmt: skip
    if result.error is None:
        if changed(session, _held(parcel).values(state="delivered", next_at=None, finished_at=moment, **known)) == 0:
            return None
        well = update(Webhook).where(Webhook.id == webhook_id, Webhook.failing_since.is_not(None))
        session.execute(well.values(failing_since=None))
        return "delivered"
    next_at: datetime | None = moment + timedelta(seconds=pause_s(parcel.attempt, result.wait_s))
    if result.status == GONE or (next_at and next_at > parcel.asked_at + timedelta(seconds=patience_s)):
        next_at = None
    state = "failed" if next_at is None else "pending"
    over = moment if next_at is None else None
    if changed(session, _held(parcel).values(state=state, next_at=next_at, finished_at=over, **known)) == 0:
        return None
    _note_failure(session, webhook_id, result, moment, patience_s)
    return state


def pause_s(attempt: int, wait_s: float | None = None) -> float:
    """Seconds until the next attempt: 5 s, 15 s, 45 s ... 12 h, a quarter more or less; longer if the receiver asks."""
    usual = min(FIRST_PAUSE_S * GROWTH ** (min(attempt, 30) - 1), LONGEST_PAUSE_S)
    return max(usual * random.uniform(0.75, 1.25), min(wait_s or 0.0, LONGEST_PAUSE_S))  # noqa: S311 - no secret


def _note_failure(session: Session, webhook_id: str, result: Result, moment: datetime, patience_s: float) -> None:
    hook = session.get(Webhook, webhook_id, with_for_update=True, populate_existing=True)
    if hook is None or not hook.active:
        return
    hook.failing_since = hook.failing_since or moment
    if result.status == GONE:
        why = "the receiver has answered 410: it is gone"
    elif moment - hook.failing_since >= timedelta(seconds=patience_s):
        why = f"it has taken nothing since {hook.failing_since:%Y-%m-%d %H:%M} UTC; the last error: {result.error}"
    else:
        return
    hook.active, hook.disabled_reason = False, why
    session.flush()
    _log.warning("webhook_disabled", webhook_id=webhook_id)
    # the reason names hosts: whoever may read the webhook sees it there
    reason = "gone" if result.status == GONE else "failing"
    told = {"webhook_id": hook.id, "project_id": hook.project_id, "reason": reason}
    outbox.tell_project(session, hook.project_id, outbox.DISABLED, told)


def tidy(session: Session, moment: datetime, patience_s: float) -> None:
    """Give up what waits for a webhook that stays off, and forget what ended long ago or what nobody waits for."""
    off = select(Webhook.id).where(~Webhook.active)
    session.execute(
        update(Delivery)
        .where(Delivery.state == "pending", Delivery.webhook_id.in_(off),
               Delivery.asked_at < moment - timedelta(seconds=patience_s))
        .values(state="failed", error="the webhook was switched off", finished_at=moment, next_at=None, claim=None)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    # written while its webhook was being removed
    lost = select(Delivery.seq).where(Delivery.state == "pending", Delivery.webhook_id.not_in(select(Webhook.id)))
    session.execute(
        delete(Delivery).where(Delivery.seq.in_(lost.limit(BATCH))).execution_options(synchronize_session=False)
    )
    old = select(Delivery.seq).where(Delivery.finished_at < moment - KEPT).limit(BATCH)
    session.execute(delete(Delivery).where(Delivery.seq.in_(old)).execution_options(synchronize_session=False))
