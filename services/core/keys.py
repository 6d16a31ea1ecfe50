"""API keys and roles: who calls, what the key opens and until when."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Literal, get_args

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Conflict, NotFound, Unauthorized
from services.core.ids import new_id
from services.core.scope import EVERYTHING, Scope
from services.core.tables import DEFAULT_PROJECT, ApiKey, KeyProject, Project
from services.core.tables.base import now

# a key's last use is written at most so often
USE_EVERY = timedelta(minutes=1)


RoleName = Literal["viewer", "operator", "admin"]
_WORDS: tuple[RoleName, ...] = get_args(RoleName)


class Role(IntEnum):
    """What a key may do; each role includes the ones below it."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> RoleName:
        """The role as it is written."""
        return _WORDS[self.value - 1]


@dataclass(frozen=True)
class Identity:
    """Who calls: through which key (`key_id`, `name`), for whom (`owner`), and what that opens."""

    key_id: str
    name: str
    owner: str
    role: Role
    scope: Scope
    expires_at: datetime | None = None
    use_due: bool = False


def new_key() -> str:
    """A fresh secret."""
    return "mk_" + secrets.token_urlsafe(32)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def store_key(session: Session, key: str, name: str, role: Role, *, owner: str | None = None,
              projects: Iterable[str] = (DEFAULT_PROJECT,)) -> None:  # fmt: skip
    """Let a secret in that was chosen elsewhere; only its hash is stored.

    Storing it again changes nothing; one that has been rotated away or revoked stays out, because the identifier
    of its key follows from it.
    """
    digest = _digest(key)
    key_id = f"key_{hashlib.sha256(digest.encode()).hexdigest()[:20]}"
    same = or_(ApiKey.digest == digest, ApiKey.previous_digest == digest, ApiKey.id == key_id)
    if session.scalars(select(ApiKey.id).where(same)).first() is not None:
        return
    row = ApiKey(id=key_id, name=name, owner=owner or name, digest=digest, role=role.name.lower())
    try:
        with session.begin_nested():
            _store(session, row, projects)
    except IntegrityError:
        # another process that starts at the same moment has stored it
        return


def _store(session: Session, row: ApiKey, projects: Iterable[str]) -> None:
    session.add(row)
    session.flush()
    if row.role != "admin":
        session.add_all(KeyProject(key_id=row.id, project_id=project_id) for project_id in projects)
    session.flush()


def create_key(session: Session, *, name: str, owner: str, role: Role, projects: Sequence[str],
               expires_at: datetime | None) -> tuple[ApiKey, str]:  # fmt: skip
    """A new key and its secret, which is not told again. An administrator's key opens all projects."""
    secret = new_key()
    row = ApiKey(
        id=new_id("key"), name=name, owner=owner, digest=_digest(secret), role=role.name.lower(), expires_at=expires_at,
    )  # fmt: skip
    _store(session, row, projects)
    return row, secret


def get_key(session: Session, key_id: str, *, lock: bool = False) -> ApiKey:
    """The key, or NotFound."""
    found = session.get(ApiKey, key_id, with_for_update=True if lock else None)
    if found is None:
        raise NotFound(f"there is no key {key_id}")
    return found


def rotate_key(session: Session, key_id: str, grace_s: float) -> tuple[ApiKey, str]:
    """A new secret for the key; the one before opens for `grace_s` more, any older one no longer.

    Conflict for a key that has ended.
    """
    row, moment = get_key(session, key_id, lock=True), now()
    if (end := ending(row, moment)) is not None:
        raise Conflict(f"key {key_id} {end}; create another one")
    secret = new_key()
    row.previous_digest, row.previous_until = row.digest, moment + timedelta(seconds=grace_s)
    row.digest = _digest(secret)
    session.flush()
    return row, secret


def revoke_key(session: Session, key_id: str) -> None:
    """Close a key for good, both its secrets; its row stays, for the audit log."""
    row = get_key(session, key_id, lock=True)
    row.revoked_at = row.revoked_at or now()
    session.flush()


def ending(row: ApiKey, moment: datetime) -> str | None:
    """How a key has ended, in words after its name; None while it is good."""
    if row.revoked_at is not None:
        return "was revoked"
    if row.expires_at is not None and row.expires_at <= moment:
        return f"expired at {row.expires_at:%Y-%m-%d %H:%M} UTC"
    return None


def projects_of(session: Session, key_ids: Sequence[str]) -> dict[str, list[str]]:
    """The names of the projects that each key opens; none for administrators, who open all."""
    found: dict[str, list[str]] = {key_id: [] for key_id in key_ids}
    rows = (
        select(KeyProject.key_id, Project.name).join(Project, Project.id == KeyProject.project_id)
        .where(KeyProject.key_id.in_(key_ids)).order_by(Project.name)
    )  # fmt: skip
    for key_id, name in session.execute(rows):
        found[key_id].append(name)
    return found


def bearer(authorization: str | None) -> str:
    """What an `Authorization: Bearer ...` header holds. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthorized("this call needs a key: send the header 'Authorization: Bearer <key>'")
    return key.strip()


_GOOD = or_(
    ApiKey.digest == bindparam("digest"),
    and_(ApiKey.previous_digest == bindparam("digest"), ApiKey.previous_until > bindparam("moment")),
)
# every request asks: made once
_CALLER = (
    select(ApiKey, KeyProject.project_id).outerjoin(KeyProject, KeyProject.key_id == ApiKey.id).where(_GOOD)
)  # fmt: skip


def authenticate(session: Session, authorization: str | None) -> Identity:
    """Who an `Authorization: Bearer <key>` header belongs to. Raises Unauthorized."""
    digest, moment = _digest(bearer(authorization)), now()
    rows = session.execute(_CALLER, {"digest": digest, "moment": moment}).all()
    found = rows[0][0] if rows else None
    if found is None or not any(hmac.compare_digest(d, digest) for d in (found.digest, found.previous_digest or "")):
        raise Unauthorized("the key is not known; ask an administrator for one")
    if (end := ending(found, moment)) is not None:
        raise Unauthorized(f"the key '{found.name}' {end}; ask an administrator for another one")
    role = Role[found.role.upper()]
    scope = EVERYTHING if role is Role.ADMIN else Scope(frozenset(row[1] for row in rows if row[1] is not None))
    due = found.last_used_at is None or moment - found.last_used_at > USE_EVERY
    return Identity(found.id, found.name, found.owner, role, scope, found.expires_at, due)


def note_use(session: Session, key_id: str) -> None:
    """Write down that a key has been used, if that was not done within the last minute."""
    moment = now()
    unknown = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < moment - USE_EVERY)
    session.execute(update(ApiKey).where(ApiKey.id == key_id, unknown).values(last_used_at=moment))
