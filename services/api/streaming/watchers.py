"""Who watches: a bounded buffer each, filled by the hub and emptied at the client's pace."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from services.core.errors import MedcossError
from services.core.feed import Change, Choice
from services.core.keys import Identity
from services.core.reports import Position, Standing

# entries that may wait for a slow client; what is over is read from the database again, at the client's pace
BUFFER = 1000

E = TypeVar("E")


@dataclass(frozen=True)
class Reported:
    """One row of a job as it is sent."""

    table: str
    seq: int
    data: str


@dataclass(frozen=True)
class Announced:
    """A state change as it is sent, and what it is chosen by."""

    change: Change
    data: str


class Watcher(Generic[E]):
    """One client. The hub calls `offer`, `close` and `wake` on the event loop; one task takes."""

    def __init__(self, identity: Identity, authorization: str | None) -> None:
        self.identity, self.authorization = identity, authorization
        self.behind = False
        self.closed: MedcossError | None = None
        self.over = False
        self._waiting: deque[E] = deque()
        self._news = asyncio.Event()

    def offer(self, entries: list[E]) -> None:
        """Leave entries for the client. More than fit are let go of: the client is `behind`, and reads them itself."""
        if self.behind:
            return
        if len(self._waiting) + len(entries) > BUFFER:
            self.behind = True
            self._waiting.clear()
        self._waiting.extend([] if self.behind else entries)
        self.wake()

    def wake(self) -> None:
        """There is something new."""
        self._news.set()

    def close(self, why: MedcossError | None = None) -> None:
        """End the stream: for a reason, or because the process ends."""
        self.closed, self.over = why, True
        self.wake()

    async def take(self, patience_s: float) -> list[E]:
        """What has come, at the latest after `patience_s`."""
        if not self._news.is_set():
            try:
                async with asyncio.timeout(patience_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        self._news.clear()
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def caught_up(self) -> None:
        """The client is about to read everything from the database: what comes from now on is kept for it again."""
        self.behind = False


class JobWatcher(Watcher[Reported]):
    """Watches one job."""

    def __init__(self, identity: Identity, authorization: str | None, job_id: str, tables: tuple[str, ...]) -> None:
        super().__init__(identity, authorization)
        self.job_id, self.tables = job_id, tables


class FeedWatcher(Watcher[Announced]):
    """Watches all jobs that it may see; `reached` is how far the hub has looked for it."""

    def __init__(self, identity: Identity, authorization: str | None, choice: Choice) -> None:
        super().__init__(identity, authorization)
        self.choice = choice
        self.reached = 0


@dataclass
class Topic:
    """A job that somebody watches: how far the hub has read, and how the job stood then."""

    project_id: str
    position: Position
    standing: Standing | None = None
    ended: bool = False
    gone: bool = False
    watchers: set[JobWatcher] = field(default_factory=set)
