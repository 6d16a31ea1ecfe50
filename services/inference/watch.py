"""What an inference under way is told, and tells: that nobody waits for it any more, and how far it is."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


class GivenUp(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Step:
    """How far an inference is: `done` of `total` units (windows of a volume) of the `stage`."""

    stage: str
    done: int
    total: int


class Watch:
    """The link between whoever waits for an inference and the thread that works on it."""

    def __init__(self, tell: Callable[[Step], None] | None = None) -> None:
        self._tell, self._over = tell, threading.Event()
        self.entered = time.perf_counter()

    def give_up(self) -> None:
        """Have the work end at its next `check`."""
        self._over.set()

    def check(self) -> None:
        """Raise GivenUp when nobody waits any more."""
        if self._over.is_set():
            raise GivenUp

    def step(self, stage: str, done: int = 0, total: int = 1) -> None:
        """Say how far the work is. Raises GivenUp when nobody waits any more."""
        self.check()
        if self._tell is not None:
            self._tell(Step(stage, done, total))
