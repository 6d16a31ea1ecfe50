"""A TCP relay before a server of the platform, which cuts and stalls its connections on demand."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Target = tuple[str, int] | Path
CHUNK = 1 << 16
LOOPBACK = "127.0.0.1"


class Relay:
    """Passes bytes between `port` of the loopback interface and `target`, an address or a Unix socket.

    `cut` resets every connection and every new one, `stall` keeps them and holds back what is sent;
    `mend` ends both. A thread of its own does the work.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()
        self._refusing = False
        self._thread.start()
        self._flows = self._do(self._event())
        self._server = self._do(asyncio.start_server(self._serve, LOOPBACK, 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _event(self) -> asyncio.Event:
        event = asyncio.Event()
        event.set()
        return event

    def cut(self) -> None:
        """Reset all connections, and those to come."""
        self._do(self._cut())

    async def _cut(self) -> None:
        self._refusing = True
        for writer in self._open:
            writer.transport.abort()

    def stall(self) -> None:
        """Pass nothing on: what is sent meanwhile arrives afterwards."""
        self._do(self._stall())

    async def _stall(self) -> None:
        self._flows.clear()

    def mend(self) -> None:
        """Work as if nothing had been."""
        self._do(self._mend())

    async def _mend(self) -> None:
        self._refusing = False
        self._flows.set()

    def close(self) -> None:
        """End the relay and its connections."""
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        self._open.add(writer)
        try:
            await self._flows.wait()
            if self._refusing:
                return
            there, out = await self._connect()
            writers.append(out)
            self._open.add(out)
            pumps = {asyncio.ensure_future(self._pump(reader, out)), asyncio.ensure_future(self._pump(there, writer))}
            _, others = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for other in others:
                other.cancel()
        except OSError:
            return
        finally:
            for each in writers:
                self._open.discard(each)
                if self._refusing:
                    each.transport.abort()
                else:
                    each.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(str(self._target))
        return await asyncio.open_connection(*self._target)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
