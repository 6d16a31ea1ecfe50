"""Who may infer at once, who waits for a turn, and what ends an inference before its answer."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import structlog
from starlette.requests import Request

from services.core.errors import MedcossError, TimedOut, TooMany, Unavailable
from services.core.settings import Settings
from services.inference import metrics
from services.inference.watch import GivenUp, Step, Watch

T = TypeVar("T")
Work = Callable[[Watch], T]

# a stream without news shows so often that it is alive
BEAT_S = 10.0
# weight of the newest answer in the usual time of one
_SHARE = 0.2
_LONGEST_RETRY_S = 60

log = structlog.get_logger(__name__)


class ClientGone(MedcossError):
    """The client has closed the connection; nobody reads this."""

    status, title, kind = 499, "Client gone", "client-gone"


class Admission:
    """The turns of one gateway process: so many inferences at once, so many that wait, and no more."""

    def __init__(self, settings: Settings) -> None:
        self.concurrency, self.queue = settings.inference_concurrency, settings.inference_queue
        self._timeout_s = settings.inference_timeout_s
        self._pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="inference")
        self._inside, self._usual_s = 0, 1.0
        self._live: set[Watch] = set()

    def close(self) -> None:
        """Give up the inferences that are still under way, and let their threads end."""
        for watch in tuple(self._live):
            watch.give_up()
        self._pool.shutdown(cancel_futures=True)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be one of those who infer or wait. TooMany when there are enough, before a body is read."""
        if self._inside >= self.concurrency + self.queue:
            metrics.turned_away()
            wait = math.ceil(self._usual_s * self._inside / self.concurrency)
            raise TooMany(
                f"the gateway works on {self.concurrency} inferences and {self.queue} wait; try again later",
                min(max(wait, 1), _LONGEST_RETRY_S),
            )
        self._inside += 1
        metrics.inside(self._inside)
        try:
            yield
        finally:
            self._inside -= 1
            metrics.inside(self._inside)

    async def run(self, request: Request, work: Work[T]) -> T:
        """What `work` returns, in its turn. It is given up when the client goes away (ClientGone) or when the time is
        over (TimedOut); `request` has been read to its end.
        """
        watch = Watch()
        answer = asyncio.wrap_future(self._submit(work, watch))
        gone = asyncio.create_task(_gone(request))
        both: set[asyncio.Future[Any]] = {answer, gone}
        try:
            await asyncio.wait(both, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return _result(answer)
            if gone.done():
                log.info("the client has gone, its inference is given up")
                raise ClientGone("the client has closed the connection")
            raise self._timed_out()
        finally:
            gone.cancel()
            watch.give_up()
            answer.cancel()

    async def steps(self, work: Work[T]) -> AsyncIterator[Step | T | None]:
        """How far `work` is, None now and then when there is no news, and at last what it returns.

        It is given up when the iterator is closed, or when the time is over (TimedOut).
        """
        loop, news = asyncio.get_running_loop(), asyncio.Queue[Step | None]()

        def tell(step: Step) -> None:
            loop.call_soon_threadsafe(news.put_nowait, step)

        watch = Watch(tell)
        future = self._submit(work, watch)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(news.put_nowait, None))
        end = loop.time() + self._timeout_s
        try:
            while not future.done() or not news.empty():
                try:
                    step = await asyncio.wait_for(news.get(), min(BEAT_S, max(end - loop.time(), 0)))
                except TimeoutError:
                    if loop.time() >= end:
                        raise self._timed_out() from None
                    yield None
                    continue
                if step is not None:
                    yield step
            yield _result(future)
        finally:
            watch.give_up()
            future.cancel()

    def _submit(self, work: Work[T], watch: Watch) -> Future[T]:
        return self._pool.submit(copy_context().run, self._timed, work, watch)

    def _timed(self, work: Work[T], watch: Watch) -> T:
        watch.check()
        self._live.add(watch)
        metrics.working(1)
        began = time.perf_counter()
        try:
            found = work(watch)
        except GivenUp:
            metrics.given_up()
            raise
        finally:
            metrics.working(-1)
            self._live.discard(watch)
        self._usual_s += _SHARE * (time.perf_counter() - began - self._usual_s)
        return found

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"the answer was not ready within {self._timeout_s:g} s; the work was given up: send a smaller input, or "
            "try again when less is going on"
        )


def _result(done: "asyncio.Future[T] | Future[T]") -> T:
    try:
        return done.result()
    except GivenUp:
        raise Unavailable("the gateway is being stopped; try again in a few seconds") from None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
