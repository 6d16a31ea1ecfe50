"""Server-sent events on the wire: what is sent, and the answer that sends it."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import structlog
from fastapi.sse import format_sse_event
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# so that the watchers of a process that ends do not all come back at once
RETRY_MS = (1000, 3000)
_log = structlog.get_logger()


def hello(position: str) -> bytes:
    """The first thing that is sent: where the stream begins, and when to come back if it breaks."""
    return format_sse_event(id=position, retry=random.randint(*RETRY_MS))  # noqa: S311 - no secret


def event(name: str, data: str | Mapping[str, Any], position: str | None = None) -> bytes:
    """One event; with a position, the place to go on from after it."""
    return format_sse_event(event=name, data_str=data if isinstance(data, str) else json.dumps(data), id=position)


def beat(position: str) -> bytes:
    """A sign of life: a comment, and how far the stream has looked."""
    return format_sse_event(comment="alive", id=position)


class EventStream(Response):
    """Sends what a generator yields as it comes, until it ends or the client goes.

    A client that takes nothing for `stall_s` is dropped: it comes back with the id of the last event that it got. The
    header `X-Heartbeat-S` says how often a stream without news shows that it is alive, in seconds.
    """

    media_type = "text/event-stream"

    def __init__(self, source: Callable[[], AsyncGenerator[bytes, None]], stall_s: float, beat_s: float,
                 status_code: int = 200) -> None:  # fmt: skip
        headers = {"Cache-Control": "no-cache, no-store", "X-Accel-Buffering": "no", "X-Heartbeat-S": f"{beat_s:g}"}
        super().__init__(status_code=status_code, headers=headers)
        # it has no length
        del self.headers["content-length"]
        self._source, self._stall_s = source, stall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. What the generator raises before its first piece is answered as a problem."""
        pieces = self._source()
        first = await anext(pieces)
        sender = asyncio.create_task(self._send(first, pieces, send))
        listener = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sender, listener}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sender, listener):
                task.cancel()
            await asyncio.gather(sender, listener, return_exceptions=True)
            await pieces.aclose()
        if sender.done() and not sender.cancelled() and (error := sender.exception()) is not None:
            raise error

    async def _send(self, first: bytes, pieces: AsyncGenerator[bytes, None], send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        piece: bytes | None = first
        try:
            while piece is not None:
                if piece:
                    async with asyncio.timeout(self._stall_s):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(pieces, None)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            _log.warning("stream_stalled", stall_s=self._stall_s)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
