"""HTTP/1.1 over asyncio streams: next to nothing between a request and its time, for a load that must not wait."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The document in it."""
        return json.loads(self.body)


class Connection:
    """One connection that is kept; one request at a time."""

    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self.reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, method: str, path: str, body: Any = None) -> None:
        """Send a request."""
        if self._writer is None:
            self.reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._writer.write(head.encode() + data)
        await self._writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), headers

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Send a request and read its whole answer."""
        await self.send(method, path, body)
        status, headers = await self.head()
        return Reply(status, await self.reader.readexactly(int(headers.get("content-length", 0))))

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
