"""One poller a process: it reads what the watched jobs have reported, once, and hands it to all who watch.

It asks the database only while somebody watches, a fixed number of statements a look however many do. No watcher has a
thread or a connection: looks and catching up share a few threads.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.api.schemas_streams import Announcement, as_json
from services.api.streaming.watchers import Announced, FeedWatcher, JobWatcher, Reported, Topic, Watcher
from services.core import feed, reports
from services.core.access import Access
from services.core.db import Database
from services.core.errors import NotFound, TooMany, Unauthorized, Unavailable
from services.core.feed import Choice, Horizon
from services.core.keys import Identity, note_use
from services.core.reports import News
from services.core.scope import EVERYTHING
from services.core.settings import Settings

THREADS = 4
# rows that one look takes; more wait for the next one
LOOK = 2000
AWAY_S = 2.0
PATIENCE_S = 10.0
T = TypeVar("T")
_log = structlog.get_logger()


class Hub:
    """All streams of a process. Its methods are called on the event loop."""

    def __init__(self, settings: Settings, database: Database, access: Access) -> None:
        self.settings, self.database, self._access = settings, database, access
        self._threads = ThreadPoolExecutor(THREADS, "streams")
        self._topics: dict[str, Topic] = {}
        self._feed: set[FeedWatcher] = set()
        self._horizon = Horizon()
        self._reached: int | None = None
        self._ready = asyncio.Event()
        self._held: Counter[str] = Counter()
        self._poller: asyncio.Task[None] | None = None
        self._check_at = 0.0
        self._closing = False

    @property
    def watchers(self) -> list[Watcher[Any]]:
        """All who watch."""
        return [*self._feed, *(watcher for topic in self._topics.values() for watcher in topic.watchers)]

    async def read(self, work: Callable[[Session], T]) -> T:
        """Do some reading on one of the hub's threads."""

        def reading() -> T:
            with self.database.reading() as session:
                return work(session)

        return await asyncio.get_running_loop().run_in_executor(self._threads, reading)

    @contextmanager
    def place(self, identity: Identity) -> Iterator[None]:
        """One of the streams that a key may hold at this process. TooMany when it has them all."""
        allowed = self.settings.streams_per_key
        if self._held[identity.key_id] >= allowed:
            raise TooMany(
                f"the key '{identity.name}' holds {allowed} streams already; close one of them, or watch all jobs in "
                "one stream with GET /v1/events", retry_after_s=5,
            )  # fmt: skip
        self._held[identity.key_id] += 1
        try:
            yield
        finally:
            self._held[identity.key_id] -= 1
            if not self._held[identity.key_id]:
                del self._held[identity.key_id]

    async def join_job(self, watcher: JobWatcher) -> Topic:
        """From now on the watcher is offered the job's rows that it cannot see in the database yet."""
        job_id = watcher.job_id
        found, end = await self.read(lambda s: (reports.standings(s, [job_id]), reports.end_of(s, job_id)))
        if job_id not in found:
            raise NotFound(f"there is no job {job_id}")
        topic = self._topics.setdefault(job_id, Topic(found[job_id].project_id, end))
        read_already = {table for other in topic.watchers for table in other.tables}
        for table in set(watcher.tables) - read_already:
            topic.position = topic.position.after(table, end.of(table))
        topic.watchers.add(watcher)
        self._start(watcher)
        return topic

    async def join_feed(self, watcher: FeedWatcher) -> int:
        """The same for state changes of all jobs; the number up to which they can be read."""
        if not self._feed:
            self._reached = None
            self._ready.clear()
        self._feed.add(watcher)
        self._start(watcher)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ready.wait()
        except TimeoutError:
            raise Unavailable("the database does not answer; try again in a few seconds") from None
        return self.reached

    @property
    def reached(self) -> int:
        """How far the state changes of all jobs are settled and handed out."""
        return self._reached or 0

    def leave(self, watcher: Watcher[Any]) -> None:
        """The watcher has gone."""
        if isinstance(watcher, FeedWatcher):
            self._feed.discard(watcher)
        elif isinstance(watcher, JobWatcher) and (topic := self._topics.get(watcher.job_id)) is not None:
            topic.watchers.discard(watcher)
            if not topic.watchers:
                del self._topics[watcher.job_id]

    def _start(self, watcher: Watcher[Any]) -> None:
        if self._closing:
            watcher.close()
            self._ready.set()
        elif self._poller is None or self._poller.done():
            self._check_at = time.monotonic() + self.settings.stream_recheck_s
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        """Look again and again while somebody watches."""
        while (self._feed or self._topics) and not self._closing:
            pause = self.settings.stream_poll_s
            try:
                await self._look()
                if time.monotonic() >= self._check_at:
                    await self._check_keys()
            except SQLAlchemyError as error:
                _log.warning("streams_without_database", error=type(error).__name__)
                pause = max(AWAY_S, pause)
            except Exception:  # noqa: BLE001 - whatever goes wrong in one look, the next one is due
                _log.exception("streams_look_failed")
                pause = max(AWAY_S, pause)
            await asyncio.sleep(pause)

    async def _look(self) -> None:
        known: dict[str, dict[str, int]] = {table: {} for table in reports.TABLES}
        for job_id, topic in self._topics.items():
            for table in {table for watcher in topic.watchers for table in watcher.tables}:
                known[table][job_id] = topic.position.of(table)
        asked, wants_feed, since = list(self._topics), bool(self._feed), self._reached

        def reading(session: Session) -> tuple[News, int, list[Announced]]:
            news = reports.news(session, known, asked, LOOK) if asked else News({})
            return (news, *(self._read_feed(session, since) if wants_feed else (0, [])))

        news, reached, changes = await self.read(reading)
        self._hand_out(news, asked)
        if wants_feed:
            self._announce(reached, changes)

    def _read_feed(self, session: Session, since: int | None) -> tuple[int, list[Announced]]:
        settled = self._horizon.look(session)
        if since is None:
            return settled, []
        found = feed.changes(session, since, settled, Choice(EVERYTHING), LOOK)
        last = found[-1].seq if len(found) == LOOK else max(settled, since)
        return last, [Announced(c, Announcement.model_validate(c).model_dump_json()) for c in found]

    def _hand_out(self, news: News, asked: list[str]) -> None:
        fresh: dict[str, list[Reported]] = defaultdict(list)
        for table, rows in news.rows.items():
            for row in rows:
                topic = self._topics.get(row.job_id)
                if topic is not None:
                    topic.position = topic.position.after(table, max(row.seq, topic.position.of(table)))
                    fresh[row.job_id].append(Reported(table, row.seq, as_json(row)))
        for job_id in asked:
            if (topic := self._topics.get(job_id)) is None:
                continue
            standing = news.standings.get(job_id)
            moved = standing != topic.standing
            topic.standing, topic.gone = standing, standing is None
            topic.ended = standing is not None and standing.ended and news.whole
            for watcher in topic.watchers:
                if wanted := [entry for entry in fresh[job_id] if entry.table in watcher.tables]:
                    watcher.offer(wanted)
                if moved or topic.ended or topic.gone:
                    watcher.wake()

    def _announce(self, reached: int, changes: list[Announced]) -> None:
        self._reached = max(reached, self._reached or 0)
        for watcher in self._feed:
            watcher.reached = self._reached
            if wanted := [entry for entry in changes if watcher.choice.takes(entry.change)]:
                watcher.offer(wanted)
        self._ready.set()

    async def _check_keys(self) -> None:
        """End the streams of keys that are no longer good, or that open less than they did."""
        self._check_at = time.monotonic() + self.settings.stream_recheck_s
        by_key: dict[str | None, list[Watcher[Any]]] = defaultdict(list)
        for watcher in self.watchers:
            by_key[watcher.authorization].append(watcher)
        for authorization, watchers in by_key.items():
            verdict = await asyncio.get_running_loop().run_in_executor(self._threads, self._check, authorization)
            for watcher in watchers:
                self._judge(watcher, verdict)

    def _check(self, authorization: str | None) -> Identity | Unauthorized | None:
        try:
            identity = self._access.identify(authorization)
            if identity.use_due:
                with self.database.session() as session:
                    note_use(session, identity.key_id)
        except Unauthorized as error:
            return error
        except Exception as error:  # noqa: BLE001 - a database or a provider that is away closes nobody's stream
            _log.warning("stream_key_unchecked", error=type(error).__name__)
            return None
        return identity

    def _judge(self, watcher: Watcher[Any], verdict: Identity | Unauthorized | None) -> None:
        if isinstance(verdict, Unauthorized):
            watcher.close(verdict)
        elif verdict is not None and isinstance(watcher, JobWatcher):
            topic = self._topics.get(watcher.job_id)
            if topic is not None and not verdict.scope.sees(topic.project_id):
                watcher.close(NotFound(f"there is no job {watcher.job_id}"))
        elif verdict is not None and watcher.identity.scope != verdict.scope:
            watcher.close(Unauthorized("the projects of the key have changed; connect again"))

    def close(self) -> None:
        """End all streams: their clients come back to another process, and miss nothing."""
        self._closing = True
        for watcher in self.watchers:
            watcher.close()
        self._ready.set()

    async def finish(self) -> None:
        """Wait until nothing of the hub runs any more."""
        self.close()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
