"""Secrets that have to be read again, sealed at rest: a copy of the database does not tell them.

Sealed with Fernet (AES-128-CBC and HMAC-SHA256) under a key derived by HKDF-SHA256 from the setting `encryption_key`,
or from the object store's secret key where that is not set. What was sealed under the one is still read after the
other is set.
"""

import base64
from functools import cached_property
from typing import TYPE_CHECKING

from services.core.errors import MedcossError, Unavailable
from services.core.settings import Settings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_PURPOSE = b"medcoss: secrets of webhooks"


class Sealed(MedcossError):
    """A secret was sealed under another key."""

    status, title, kind = 409, "Conflict", "conflict"


class Seal:
    """Seals and opens."""

    def __init__(self, settings: Settings) -> None:
        given = [settings.encryption_key, settings.s3_secret_key]
        self._sources = [secret.get_secret_value() for secret in given if secret and secret.get_secret_value()]

    @cached_property
    def _fernet(self) -> "MultiFernet":
        # loaded only where webhooks are
        from cryptography.fernet import Fernet, MultiFernet
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        if not self._sources:
            raise Unavailable("there is no key to seal secrets with: set MEDCOSS_ENCRYPTION_KEY")
        keys = [HKDF(SHA256(), length=32, salt=None, info=_PURPOSE).derive(source.encode()) for source in self._sources]
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def close(self, secret: str) -> str:
        """The sealed secret."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """The secret. Raises Sealed when it was sealed under another key."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken:
            raise Sealed(
                "the secret was sealed under another key (MEDCOSS_ENCRYPTION_KEY has changed); rotate the secret"
            ) from None
