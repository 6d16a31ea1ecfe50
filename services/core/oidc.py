"""Bearer tokens of an OpenID Connect provider: checked against its published keys, their claims made an identity.

Discovery and keys are fetched when they are first needed and once an hour; a token that names an unknown key has them
fetched again, but not more often than every few seconds, whatever tokens come.
"""

import hashlib
import threading
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import structlog
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.errors import Forbidden, Unauthorized, Unavailable
from services.core.keys import Identity, Role
from services.core.scope import EVERYTHING, Scope
from services.core.settings import Settings
from services.core.tables import Project

ALGORITHMS = ["RS256", "ES256"]
# clocks differ
LEEWAY_S = 30
FRESH_S = 3600.0
AGAIN_S = 5.0
TIMEOUT_S = 5.0
LONGEST_TOKEN = 16_384
_log = structlog.get_logger()


class Issuer:
    """One provider."""

    def __init__(self, settings: Settings) -> None:
        assert settings.oidc_issuer is not None and settings.oidc_audience is not None
        self._settings, self._url = settings, settings.oidc_issuer.rstrip("/")
        self._claims = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_S, iss={"essential": True, "value": settings.oidc_issuer},
            aud={"essential": True, "value": settings.oidc_audience}, exp={"essential": True}, sub={"essential": True},
        )  # fmt: skip
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._lock = threading.Lock()

    def claims(self, token: str) -> dict[str, Any]:
        """What a token says, once its signature, issuer, audience and times are checked.

        Raises Unauthorized, or Unavailable when the provider's keys cannot be had.
        """
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized("the token is too long")
        try:
            try:
                found = jwt.decode(token, self._current(FRESH_S), algorithms=ALGORITHMS)
            except InvalidKeyIdError:
                # the provider has new keys, perhaps
                found = jwt.decode(token, self._current(AGAIN_S), algorithms=ALGORITHMS)
            self._claims.validate(found.claims)
        except ExpiredTokenError:
            raise Unauthorized("the token has expired; sign in again") from None
        except (JoseError, ValueError) as error:
            _log.info("token_refused", error=type(error).__name__)
            raise Unauthorized("the token is not good: its signature, issuer, audience or time is wrong") from None
        return found.claims

    def identity(self, session: Session, claims: dict[str, Any]) -> Identity:
        """Who the claims of a good token belong to."""
        return identity_of(session, self._settings, claims)

    def _current(self, age_s: float) -> KeySet:
        """The provider's keys, at most so old if the provider answers."""
        with self._lock:
            moment = time.monotonic()
            if moment - self._fetched > age_s and moment - self._tried > AGAIN_S:
                self._tried = moment
                try:
                    self._keys, self._fetched = self._fetch(), moment
                except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
                    _log.warning("oidc_keys_not_fetched", error=type(error).__name__)
            if self._keys is None:
                raise Unavailable("the sign-in provider does not answer; try again in a few seconds, or use a key")
            return self._keys

    def _fetch(self) -> KeySet:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            document = client.get(f"{self._url}/.well-known/openid-configuration").raise_for_status().json()
            if document["issuer"] != self._settings.oidc_issuer:
                raise ValueError("the provider calls itself otherwise")
            address = httpx.URL(document["jwks_uri"])
            if address.scheme != "https" and httpx.URL(self._url).scheme == "https":
                raise ValueError("the provider's keys are not on https")
            return KeySet.import_key_set(client.get(address).raise_for_status().json())


def identity_of(session: Session, settings: Settings, claims: dict[str, Any]) -> Identity:
    """Owner, role and projects as the settings read them from the claims. Forbidden without a role here."""
    subject = str(claims["sub"])
    owner = _claim(claims, settings.oidc_owner_claim)
    owner = owner if isinstance(owner, str) and owner.isprintable() and owner else subject
    roles = [Role[settings.oidc_roles[name].upper()] for name in _names(claims, settings.oidc_roles_claim)
             if name in settings.oidc_roles]  # fmt: skip
    if not roles:
        raise Forbidden(
            f"{owner} has no role here; expected one of {', '.join(settings.oidc_roles)} in the claim "
            f"'{settings.oidc_roles_claim}': ask who manages the sign-in"
        )
    scope = EVERYTHING
    if max(roles) < Role.ADMIN:
        named = select(Project.id).where(Project.name.in_(_names(claims, settings.oidc_projects_claim)))
        scope = Scope(frozenset(session.scalars(named)))
    digest = hashlib.sha256(f"{claims['iss']}\n{subject}".encode()).hexdigest()
    expires_at = datetime.fromtimestamp(int(claims["exp"]), UTC)
    return Identity(f"oidc_{digest[:32]}", owner[:128], owner[:128], max(roles), scope, expires_at)


def _claim(claims: dict[str, Any], path: str) -> Any:
    """A claim, or one inside others: `realm_access.roles`. Names with dots are looked for as they are first."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _names(claims: dict[str, Any], path: str) -> list[str]:
    """The words of a claim that is one or a list; groups may come as paths."""
    value = _claim(claims, path)
    entries = value if isinstance(value, list) else [value]
    return [entry.removeprefix("/") for entry in entries if isinstance(entry, str)]
