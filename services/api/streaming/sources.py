"""What one client is sent, in order, each row once: first from the database, then what the hub hands on.

The database holds the truth. Whatever the hub cannot keep for a slow client is read from there again, and what comes
both ways is told by its number.
"""

import heapq
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import replace

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.api.schemas_streams import Announcement, Part, ProgressNow, StreamEnd, as_json
from services.api.streaming.hub import Hub
from services.api.streaming.watchers import FeedWatcher, JobWatcher, Reported, Topic
from services.api.streaming.wire import beat, event, hello
from services.core import feed, reports
from services.core.errors import MedcossError, NotFound
from services.core.feed import Change, Choice
from services.core.keys import Identity
from services.core.reports import News, Position, Standing

Pieces = AsyncGenerator[bytes, None]
# rows that are read from the database at once
PAGE = 500
PIECE = 65_536
NAMES = {"events": "event", "metrics": "metric", "logs": "log"}
_log = structlog.get_logger()


def pieces(events: Iterable[bytes]) -> Iterator[bytes]:
    """Events joined to pieces that are worth sending."""
    found: list[bytes] = []
    size = 0
    for one in events:
        found.append(one)
        size += len(one)
        if size >= PIECE:
            yield b"".join(found)
            found, size = [], 0
    if found:
        yield b"".join(found)


def closed(why: MedcossError) -> bytes:
    """The event that says why a stream ends before its time."""
    return event("closed", why.problem())


class _Source(ABC):
    """What both streams do: take a place, tell what is stored and what comes in turn, say why they end early."""

    _hub: Hub
    _watcher: JobWatcher | FeedWatcher
    # the last event of a stream has been sent
    _ended = False

    async def __call__(self) -> Pieces:
        """The pieces. Raises TooMany, NotFound and Unavailable before the first one."""
        watcher, begun = self._watcher, False
        with self._hub.place(watcher.identity):
            try:
                start = await self._join()
                begun = True
                yield hello(start)
                while not (self._ended or watcher.over):
                    async for piece in self._from_database():
                        yield piece
                    async for piece in self._from_hub():
                        yield piece
                if watcher.closed is not None:
                    yield closed(watcher.closed)
            except SQLAlchemyError as error:
                if not begun:
                    raise
                # the client comes back, and goes on where it was
                _log.warning("stream_broken", error=type(error).__name__)
            finally:
                self._hub.leave(watcher)

    @abstractmethod
    async def _join(self) -> str:
        """Have the hub know of the watcher; the id that the stream begins behind."""

    @abstractmethod
    def _from_database(self) -> Pieces:
        """What is stored and was not told yet."""

    @abstractmethod
    def _from_hub(self) -> Pieces:
        """What comes, until the watcher has fallen behind or the stream is over."""


class JobSource(_Source):
    """The stream of one job."""

    _watcher: JobWatcher

    def __init__(self, hub: Hub, identity: Identity, authorization: str | None, job_id: str, position: Position,
                 parts: Sequence[Part]) -> None:  # fmt: skip
        self._hub, self._position = hub, position
        self._tells_progress = "progress" in parts
        tables = tuple(table for table in reports.TABLES if table in parts)
        self._watcher = JobWatcher(identity, authorization, job_id, tables)
        self._told: Standing | None = None
        self._topic: Topic | None = None

    async def _join(self) -> str:
        self._topic = await self._hub.join_job(self._watcher)
        return str(self._position)

    async def _from_database(self) -> Pieces:
        watcher, whole = self._watcher, False
        watcher.caught_up()
        while not (whole or watcher.over):
            found = await self._page()
            whole, standing = found.whole, found.standings.get(watcher.job_id)
            for piece in pieces(self._stored(found)):
                yield piece
            if standing is None:
                self._ended = True
                yield closed(NotFound(f"there is no job {watcher.job_id} any more"))
                return
            if whole:
                yield b"".join(self._progress(standing))
            if whole and standing.ended:
                self._ended = True
                last = str(replace(self._position, ended=True))
                yield event("end", StreamEnd(state=standing.state).model_dump_json(), last)

    async def _from_hub(self) -> Pieces:
        watcher, topic = self._watcher, self._topic
        assert topic is not None
        while not (self._ended or watcher.behind or watcher.over or topic.ended or topic.gone):
            entries = await watcher.take(self._hub.settings.stream_heartbeat_s)
            sent = False
            for piece in pieces([*self._live(entries), *self._progress(topic.standing)]):
                sent = True
                yield piece
            if not (sent or entries or watcher.over):
                yield beat(str(self._position))

    async def _page(self) -> News:
        position, watcher = self._position, self._watcher
        return await self._hub.read(lambda s: reports.page(s, watcher.job_id, position, watcher.tables, PAGE))

    def _stored(self, found: News) -> Iterator[bytes]:
        """Rows in the order of their time; each table in its own order."""
        per_table = [[(row.at, table, row) for row in rows] for table, rows in found.rows.items()]
        for _, table, row in heapq.merge(*per_table, key=lambda entry: entry[0]):
            yield self._row(Reported(table, row.seq, as_json(row)))

    def _live(self, entries: list[Reported]) -> Iterator[bytes]:
        for entry in entries:
            if entry.seq > self._position.of(entry.table):
                yield self._row(entry)

    def _row(self, entry: Reported) -> bytes:
        self._position = self._position.after(entry.table, entry.seq)
        return event(NAMES[entry.table], entry.data, str(self._position))

    def _progress(self, standing: Standing | None) -> list[bytes]:
        if standing is None or standing == self._told or not self._tells_progress:
            return []
        self._told = standing
        fraction = min(standing.done or 0, standing.total) / standing.total if standing.total else None
        now = ProgressNow(
            state=standing.state, attempt=standing.attempt, done=standing.done, total=standing.total,
            fraction=fraction, message=standing.message, eta_s=standing.eta_s,
        )  # fmt: skip
        return [event("progress", now.model_dump_json())]


class FeedSource(_Source):
    """The stream of all jobs' state changes, from `after` on, or from now on."""

    _watcher: FeedWatcher

    def __init__(self, hub: Hub, identity: Identity, authorization: str | None, choice: Choice,
                 after: int | None) -> None:  # fmt: skip
        self._hub, self._after, self._reached = hub, after, 0
        self._watcher = FeedWatcher(identity, authorization, choice)

    async def _join(self) -> str:
        now = await self._hub.join_feed(self._watcher)
        self._reached = now if self._after is None else self._after
        return str(self._reached)

    async def _from_database(self) -> Pieces:
        watcher, whole = self._watcher, False
        watcher.caught_up()
        while not (whole or watcher.over):
            until = self._hub.reached
            found = await self._page(until)
            whole = len(found) < PAGE
            for piece in pieces(
                _told(change, Announcement.model_validate(change).model_dump_json()) for change in found
            ):
                yield piece
            self._reached = max(self._reached, until) if whole else found[-1].seq

    async def _from_hub(self) -> Pieces:
        watcher = self._watcher
        while not (watcher.behind or watcher.over):
            entries = await watcher.take(self._hub.settings.stream_heartbeat_s)
            if watcher.behind:
                return
            new = [entry for entry in entries if entry.change.seq > self._reached]
            # told together with the entries: all up to it that this client wants are among them
            self._reached = max(self._reached, watcher.reached)
            for piece in pieces(_told(entry.change, entry.data) for entry in new):
                yield piece
            if not (entries or watcher.over):
                yield beat(str(self._reached))

    async def _page(self, until: int) -> Sequence[Change]:
        after, choice = self._reached, self._watcher.choice
        return await self._hub.read(lambda s: feed.changes(s, after, until, choice, PAGE))


def _told(change: Change, data: str) -> bytes:
    return event("event", data, str(change.seq))
