"""The door of every service: who calls, and not too often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.core.db import Database
from services.core.errors import TooMany, Unauthorized
from services.core.keys import Identity, authenticate, bearer
from services.core.limits import Limiter, Rate
from services.core.settings import Settings

if TYPE_CHECKING:
    from services.core.oidc import Issuer


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
        if self._callers is not None:
            self._count(f"key:{identity.key_id}", self._callers)
        return identity

    def identify(self, authorization: str | None) -> Identity:
        """Who calls, uncounted. Raises Unauthorized."""
        if self._issuer is not None and (token := bearer(authorization)).count(".") == 2:
            # the provider may be asked for its keys: outside of any transaction
            claims = self._issuer.claims(token)
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
