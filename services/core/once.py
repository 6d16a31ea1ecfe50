"""Requests that are carried out once, however often they are sent: what was asked under a key, and the answer.

A request whose work is one transaction keeps its answer in it (`find`, `keep`): both are there, or neither. For any
other one the key is taken first (`reserve`) and the answer kept afterwards (`finish`); when the process dies in
between, the key is free again once its lease has run out.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Update, delete, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Conflict, InProgress
from services.core.jobs import changed
from services.core.tables import IdempotencyKey
from services.core.tables.base import now

# as long as the slowest request takes
LEASE_S = 120.0
SIGNATURE = "X-Amz-Signature="


@dataclass(frozen=True)
class Ticket:
    """A request under a key of its `owner`; its answer is kept for `keep_s` seconds."""

    owner: str
    key: str
    method: str
    path: str
    digest: str
    keep_s: float = 86_400.0


@dataclass(frozen=True)
class Answer:
    """An answer that may be given again."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)


def digest_of(*parts: str, body: bytes) -> str:
    """SHA-256 that tells two requests apart; how JSON is written does not matter."""
    try:
        text = json.dumps(json.loads(body), sort_keys=True).encode() if body else b""
    except ValueError:
        text = body
    return hashlib.sha256("\n".join(parts).encode() + b"\n" + text).hexdigest()


def find(session: Session, ticket: Ticket) -> Answer | None:
    """The answer that was given, or None when the request was not carried out yet.

    Conflict when the key was used for another request, or when its answer was not kept because it held secrets;
    InProgress while the request is being carried out.
    """
    row = session.get(IdempotencyKey, (ticket.owner, ticket.key), populate_existing=True)
    if row is None:
        return None
    if row.expires_at <= now():
        session.delete(row)
        session.flush()
        return None
    asked = (ticket.method, ticket.path)
    if (row.method, row.path) != asked or row.digest not in {"", ticket.digest}:
        raise Conflict(f"the idempotency key '{ticket.key}' was used for another request; use a new one")
    if row.status is None:
        raise InProgress(f"the request with the key '{ticket.key}' is being carried out; ask again in a second", 1)
    if row.body is None:
        raise Conflict(
            f"the request with the key '{ticket.key}' was carried out and made {row.made}; its answer is told once and "
            "was not kept. Look at what it made, or use a new key"
        )
    return Answer(row.status, row.body, dict(row.headers))


def keep(session: Session, ticket: Ticket, answer: Answer, made: str) -> None:
    """Keep an answer in the transaction of the work; of two at the same moment the later gets an IntegrityError."""
    session.add(_row(ticket, status=answer.status, body=answer.body, headers=answer.headers, made=made))
    session.flush()


def _row(ticket: Ticket, **values: Any) -> IdempotencyKey:
    moment = now()
    return IdempotencyKey(
        owner=ticket.owner, key=ticket.key, method=ticket.method, path=ticket.path, digest=ticket.digest,
        created_at=moment, expires_at=moment + timedelta(seconds=ticket.keep_s), **values,
    )  # fmt: skip


def reserve(session: Session, ticket: Ticket, moment: datetime) -> Answer | None:
    """Take the key for a request that is about to be carried out, or find its answer; raises as `find` does.

    `moment` is what `finish` and `release` know this turn by.
    """
    until = moment + timedelta(seconds=LEASE_S)
    try:
        found = find(session, ticket)
    except InProgress:
        # whoever had it has died
        over = _open(ticket).where(IdempotencyKey.lease_until <= moment)
        if changed(session, over.values(lease_until=until)) == 1:
            return None
        raise
    if found is None:
        try:
            with session.begin_nested():
                session.add(_row(ticket, lease_until=until))
        except IntegrityError:
            raise InProgress(f"the request with the key '{ticket.key}' is being carried out", 1) from None
    return found


def _open(ticket: Ticket) -> Update:
    mine = (IdempotencyKey.owner == ticket.owner, IdempotencyKey.key == ticket.key)
    return update(IdempotencyKey).where(*mine, IdempotencyKey.status.is_(None))


def _turn(moment: datetime) -> Any:
    return IdempotencyKey.lease_until == moment + timedelta(seconds=LEASE_S)


def finish(session: Session, ticket: Ticket, moment: datetime, answer: Answer) -> None:
    """Keep the answer of a request that `reserve` has let in. What holds secrets is not kept, only what was made."""
    made, secret = _look(answer.body)
    body = None if secret else answer.body
    values = {"status": answer.status, "body": body, "headers": answer.headers, "made": made, "lease_until": None}
    changed(session, _open(ticket).where(_turn(moment)).values(**values))


def release(session: Session, ticket: Ticket, moment: datetime) -> None:
    """Free the key of a request that has done nothing."""
    mine = (IdempotencyKey.owner == ticket.owner, IdempotencyKey.key == ticket.key)
    session.execute(delete(IdempotencyKey).where(*mine, IdempotencyKey.status.is_(None), _turn(moment)))


def _look(body: str) -> tuple[str | None, bool]:
    """The identifier of what an answer tells of, and whether it holds secrets: a key's, or URLs that open files."""
    try:
        document = json.loads(body)
    except ValueError:
        return None, SIGNATURE in body
    made: list[str] = []
    secret = SIGNATURE in body
    nested = [document]
    while nested:
        part = nested.pop(0)
        if isinstance(part, dict):
            secret = secret or bool(part.get("secret"))
            made += [part["id"]] if isinstance(part.get("id"), str) else []
            nested += part.values()
        elif isinstance(part, list):
            nested += part
    return (made[0][:64] if made else None), secret


def forget(session: Session, moment: datetime) -> None:
    """Drop what is kept no longer."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.expires_at <= moment))
