"""Identifiers that sort by time."""

import secrets
import time


def new_id(prefix: str) -> str:
    """A fresh identifier `<prefix>_<milliseconds><random>`, e.g. for `ds`, `mdl`, `evl`, `job`, `dep`, `key`, `req`."""
    return f"{prefix}_{int(time.time() * 1000):011x}{secrets.token_hex(5)}"
