"""Running a service behind HTTP: `python -m services.core.serving services.api.app:create_app --port 8000`.

uvicorn, with what a platform of patients' data needs beyond it: requests that are no HTTP get a problem document like
all others, and a connection that does not come to the point is closed.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from services.core.headers import security_headers
from services.core.ids import new_id

# what prometheus-client reads
SHARED_NUMBERS = "PROMETHEUS_MULTIPROC_DIR"
HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 65_536
# so long does a stream that is open delay the end
GRACEFUL_S = 5
_log = structlog.get_logger()


@dataclass(frozen=True)
class _Refusal:
    status: int
    kind: str
    title: str
    detail: str


_NO_HTTP = _Refusal(400, "bad-request", "Bad request", "this is no HTTP/1.1 request; check its line, headers and body")
_LARGE = _Refusal(
    431, "headers-too-large", "Headers too large", f"line and headers are over {MAX_HEAD_BYTES} bytes; send fewer"
)
_SLOW = _Refusal(408, "too-slow", "Too slow", f"the headers did not arrive within {HEAD_TIMEOUT_S:g} s")


class _Connection(h11.Connection):
    """A connection that bounds a head also when it comes in one piece: h11 counts what has to wait for more."""

    def next_event(self) -> Any:
        """The next event. Raises RemoteProtocolError for a head that is too large."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)
            if size > MAX_HEAD_BYTES:
                raise h11.RemoteProtocolError("line and headers are too large", error_status_hint=_LARGE.status)
        return event


class Protocol(H11Protocol):
    """HTTP/1.1 of one connection. `head_timeout_s`: how long it may be open without a whole request under way."""

    head_timeout_s = HEAD_TIMEOUT_S
    conn: h11.Connection
    _head_timer: asyncio.TimerHandle | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = _Connection(h11.SERVER, MAX_HEAD_BYTES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: the clock runs until they make a request, and while the rest of an old one trickles in."""
        super().data_received(data)
        if self._under_way:
            self._unwatch()
        elif self._head_timer is None:
            self._watch()

    def on_response_complete(self) -> None:
        """An answer is out; what comes next is the keep-alive timeout's matter, until bytes come."""
        self._unwatch()
        super().on_response_complete()

    @property
    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._too_slow)

    def _unwatch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self.transport.is_closing() or self._under_way:
            return
        begun = bool(self.conn.trailing_data[0]) and self.conn.our_state is h11.IDLE
        if begun:
            self._refuse(_SLOW)
        else:
            # it has said nothing, or was answered before all of its body had come
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        hint = getattr(sys.exc_info()[1], "error_status_hint", 400)
        self._refuse(_LARGE if hint == _LARGE.status else _NO_HTTP)

    def _refuse(self, why: _Refusal) -> None:
        request_id = new_id("req")
        _log.warning("refused", status=why.status, request_id=request_id, detail=why.detail)
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            document = {
                "type": f"urn:medcoss:problem:{why.kind}", "title": why.title, "status": why.status,
                "detail": why.detail, "errors": [], "request_id": request_id,
            }  # fmt: skip
            self._write(why.status, json.dumps(document).encode(), request_id)
        if self._under_way:
            # what the application still says has nowhere to go
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _write(self, status: int, body: bytes, request_id: str) -> None:
        headers = security_headers("", self.scheme or "http") | {
            "Content-Type": "application/problem+json", "Content-Length": str(len(body)), "Connection": "close",
            "X-Request-Id": request_id,
        }  # fmt: skip
        response = h11.Response(status_code=status, headers=list(headers.items()), reason=STATUS_PHRASES[status])
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")


def options(**others: Any) -> dict[str, Any]:
    """How uvicorn runs a service."""
    return {
        "http": Protocol, "ws": "none", "h11_max_incomplete_event_size": MAX_HEAD_BYTES, "access_log": False,
        "server_header": False, "timeout_graceful_shutdown": GRACEFUL_S,
    } | others  # fmt: skip


def main() -> None:
    """Run a service until it is told to end."""
    parser = argparse.ArgumentParser(description="Run a service of the platform behind HTTP.")
    parser.add_argument("app", help="what makes the application, as module:function")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the port")
    parser.add_argument(
        "--drain-s", type=int, default=GRACEFUL_S, help="seconds that requests under way have when it is told to end"
    )
    given = parser.parse_args()
    with _common_numbers(given.processes):
        uvicorn.run(
            given.app, factory=True, host=given.host, port=given.port, workers=given.processes,
            **options(timeout_graceful_shutdown=given.drain_s),
        )  # fmt: skip


@contextmanager
def _common_numbers(processes: int) -> Iterator[None]:
    """Have processes that share a port tell the numbers of all of them to Prometheus, whichever is asked."""
    if processes == 1 or SHARED_NUMBERS in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="medcoss-numbers-") as folder:
        os.environ[SHARED_NUMBERS] = folder
        yield


if __name__ == "__main__":
    main()
