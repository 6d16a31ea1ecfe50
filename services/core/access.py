"""The door of every service: who calls, and not too often."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from services.core.db import Database
from services.core.errors import TooMany, Unauthorized
from services.core.keys import Identity, authenticate, bearer
from services.core.limits import Limiter, Rate
from services.core.settings import Settings

if TYPE_CHECKING:
    from services.core.oidc import Issuer


@dataclass(frozen=True)
class Call:
    """What a caller shows, the header Authorization, and the address that it calls from."""

    authorization: str | None
    address: str | None


class Access:
    """Lets callers in by their key, or by the token of a sign-in provider if one is set."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._issuer: Issuer | None = None
        if settings.oidc_issuer is not None:
            # its cryptography is loaded only where somebody signs in
            from services.core.oidc import Issuer

            self._issuer = Issuer(settings)
        self._limiter = Limiter(settings.redis_url)
        self._callers = Rate(settings.rate_per_s, settings.rate_burst) if settings.rate_per_s else None
        self._strangers = Rate(settings.refused_per_s, settings.refused_burst)

    def admit(self, authorization: str | None, address: str | None) -> Identity:
        """Who calls. Unauthorized without a good key, TooMany for a key that is used too often and for an
        address that comes too often without one.
        """
        try:
            identity = self.identify(authorization)
        except Unauthorized:
            self._count(f"address:{address}", self._strangers)
            raise
        return self._counted(identity)

    def admit_all(self, calls: Sequence[Call]) -> list[Identity | Exception]:
        """Who calls, by key, or the error that each of them gets. Each call counts, each key is looked up once."""
        with self._database.reading() as session:
            known = {shown: _of_key(session, shown) for shown in {call.authorization for call in calls}}
        return [self._or_refused(call, known[call.authorization]) for call in calls]

    def _or_refused(self, call: Call, found: Identity | Unauthorized) -> Identity | Exception:
        try:
            if isinstance(found, Identity):
                return self._counted(found)
            self._count(f"address:{call.address}", self._strangers)
        except TooMany as error:
            return error
        return found

    def _counted(self, identity: Identity) -> Identity:
        if self._callers is not None:
            self._count(f"key:{identity.key_id}", self._callers)
        return identity

    def is_token(self, authorization: str | None) -> bool:
        """True for what only the sign-in provider can tell the bearer of."""
        return self._issuer is not None and (authorization or "").count(".") == 2

    def identify(self, authorization: str | None) -> Identity:
        """Who calls, uncounted. Raises Unauthorized."""
        if self._issuer is not None and self.is_token(authorization):
            # the provider may be asked for its keys: outside of any transaction
            claims = self._issuer.claims(bearer(authorization))
            with self._database.reading() as session:
                return self._issuer.identity(session, claims)
        with self._database.reading() as session:
            return authenticate(session, authorization)

    def _count(self, name: str, rate: Rate) -> None:
        wait = self._limiter.take(name, rate)
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooMany(
                f"more than {rate.per_s:g} requests a second; the next one may come in {seconds} s",
                retry_after_s=seconds,
            )

    def close(self) -> None:
        """Let go of the connections."""
        self._limiter.close()


def _of_key(session: Session, authorization: str | None) -> Identity | Unauthorized:
    try:
        return authenticate(session, authorization)
    except Unauthorized as error:
        return error
