"""API keys and roles."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Unauthorized
from services.core.ids import new_id
from services.core.tables import ApiKey


class Role(IntEnum):
    """What a key may do; each role includes the ones below it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Identity:
    """Who calls."""

    key_id: str
    name: str
    role: Role


def new_key() -> str:
    """A fresh secret."""
    return "mk_" + secrets.token_urlsafe(32)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def store_key(session: Session, key: str, name: str, role: Role) -> None:
    """Let `key` in; only its hash is stored. Storing the same key again changes nothing."""
    digest = _digest(key)
    if session.scalars(select(ApiKey).where(ApiKey.digest == digest)).first() is not None:
        return
    try:
        with session.begin_nested():
            session.add(ApiKey(id=new_id("key"), name=name, digest=digest, role=role.name.lower()))
    except IntegrityError:
        # another process that starts at the same moment has stored it
        return


def authenticate(session: Session, authorization: str | None) -> Identity:
    """Who an `Authorization: Bearer <key>` header belongs to. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthorized("this call needs a key: send the header 'Authorization: Bearer <key>'")
    digest = _digest(key.strip())
    found = session.scalars(select(ApiKey).where(ApiKey.digest == digest)).first()
    if found is None or not hmac.compare_digest(found.digest, digest):
        raise Unauthorized("the key is not known; ask an administrator for one")
    return Identity(found.id, found.name, Role[found.role.upper()])
