"""What many requests ask for at the same moment, done as one: one transaction, one thread, one trip to the database.

Nobody waits for others to come: whoever is alone is served alone, and what arrives while a group is under way makes
the next group. So groups grow with the load, and the work for each request shrinks.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Done = TypeVar("Done")
MOST = 64


class Together(Generic[Item, Done]):
    """Gathers calls of one event loop for `work`, which runs in a thread, one group at a time.

    `work` gives for each item, in their order, what came of it, or the error that its caller gets; what it raises all
    of the group get.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Done | Exception]], most: int = MOST) -> None:
        self._work, self._most = work, most
        self._waiting: list[tuple[Item, asyncio.Future[Done]]] = []
        self._running: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many items wait for the next group."""
        return len(self._waiting)

    async def do(self, item: Item) -> Done:
        """What comes of an item. A caller who leaves takes nothing back: the work is done all the same."""
        result: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._running is None:
            # in a context of its own: the group is nobody's request, in logs and traces
            self._running = asyncio.create_task(self._run(), context=Context())
        return await result

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                try:
                    found = await run_in_threadpool(self._work, [item for item, _ in group])
                except Exception as error:  # noqa: BLE001 - handed on to whoever waits for it
                    found = [error] * len(group)
                for (_, result), one in zip(group, found, strict=True):
                    if not result.done():
                        _settle(result, one)
        finally:
            self._running = None


def _settle(result: "asyncio.Future[Done]", one: Done | Exception) -> None:
    if isinstance(one, Exception):
        result.set_exception(one)
    else:
        result.set_result(one)
