"""Wait for what a server does, however long it takes and wherever the server is meanwhile."""

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from medcoss.client.errors import ApiError, ServerUnreachable

POLL_S = 0.5
LONGEST_POLL_S = 2.0
PATIENCE_S = 120.0


class Going(Protocol):
    """What has a state, and an end."""

    @property
    def state(self) -> str:
        """Where it stands."""

    @property
    def ended(self) -> bool:
        """True when it has ended, however."""


G = TypeVar("G", bound=Going)
T = TypeVar("T")


def patiently(look: Callable[[], T]) -> T:
    """What `look` finds, also when the server is away for a while: it is restarted, perhaps. Raises what it raises."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return look()
        except (ServerUnreachable, ApiError) as error:
            if lasting(error) or time.monotonic() > until:
                raise
        time.sleep(LONGEST_POLL_S)


def lasting(error: ServerUnreachable | ApiError) -> bool:
    """Whether it would be the same a little later."""
    return isinstance(error, ApiError) and error.status not in {502, 503, 504}


def until_ended(look: Callable[[], G], what: str, timeout: float | None, on_update: Callable[[G], None] | None) -> G:
    """What `look` finds once that has ended; `on_update` gets it whenever it has changed. `timeout` in seconds.

    A server that is away for a while is waited for. Raises TimeoutError, which calls it `what`.
    """
    start = last_seen = time.monotonic()
    known: G | None = None
    pause = POLL_S
    while True:
        try:
            found = look()
            last_seen = time.monotonic()
        except (ServerUnreachable, ApiError) as error:
            if lasting(error) or known is None or time.monotonic() - last_seen > PATIENCE_S:
                raise
            found = known
        if found != known and on_update is not None:
            on_update(found)
        known = found
        if found.ended:
            return found
        remaining = None if timeout is None else start + timeout - time.monotonic()
        if remaining is not None and remaining <= 0:
            raise TimeoutError(f"{what} is still {found.state} after {timeout:g} s; it goes on")
        time.sleep(pause if remaining is None else min(pause, remaining))
        pause = min(pause * 1.2, LONGEST_POLL_S)
