"""Server-sent events: rows as they come, with reconnection and no row lost or told twice."""

import json
import random
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from medcoss.client.errors import ApiError, ServerUnreachable, UnexpectedAnswer
from medcoss.client.transport import CONNECT_TIMEOUT_S, Transport, problem

# the server shows every 15 s that it is there
SILENCE_S = 45.0
PAUSE_S = 1.0
PATIENCE_S = 120.0
PASSING = frozenset({429, 502, 503, 504})
# an older server, or something in between that lets no stream through
MISSING = frozenset({404, 405, 406, 501})


class NoStream(Exception):
    """There is no such stream here: whoever wants the rows has to ask for them."""


@dataclass(frozen=True)
class Sent:
    """One event of a stream: its name and data, and the place to go on from after it."""

    name: str
    data: Any
    id: str | None


@dataclass
class _Place:
    """Where a stream is: the id to go on from, how long to wait before that, when it was last alive."""

    last: str | None
    pause_s: float = PAUSE_S
    alive: float | None = None


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines of a stream, ended by LF or CRLF only: JSON may hold what else splits lines."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()


def events(chunks: Iterable[bytes]) -> Iterator[Sent]:
    """The events of a stream that cannot be taken up again."""
    return _events(lines(chunks), _Place(None))


def follow(transport: Transport, path: str, params: dict[str, Any], after: str | None = None) -> Iterator[Sent]:
    """The events of a stream until its `end`, over any number of connections.

    A server that was there and goes away is waited for up to two minutes. Raises NoStream when there is none at `path`,
    ServerUnreachable, and ApiError when the server refuses or ends the stream for a reason.
    """
    place = _Place(after)
    while True:
        try:
            for sent in _connection(transport, path, params, place):
                if sent.name == "closed":
                    raise ApiError.from_problem(int(sent.data.get("status", 500)), sent.data)
                yield sent
                if sent.name == "end":
                    return
        except _NothingMore:
            return
        except httpx.HTTPError as error:
            if place.alive is None or time.monotonic() - place.alive > PATIENCE_S:
                raise ServerUnreachable(transport.silence(error)) from error
        # not all at once after a restart
        threading.Event().wait(place.pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret


class _NothingMore(Exception):
    """The server has nothing to add to what was received."""


def _connection(transport: Transport, path: str, params: dict[str, Any], place: _Place) -> Iterator[Sent]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": place.last} if place.last else {})
    timeout = httpx.Timeout(SILENCE_S, connect=CONNECT_TIMEOUT_S)
    with transport.stream(path, params, headers, timeout) as response:
        if response.status_code in PASSING:
            if place.alive is None:
                # it is there, only busy
                place.alive = time.monotonic()
            raise httpx.HTTPError(str(problem(response)))
        if response.status_code in MISSING:
            response.read()
            raise NoStream
        if response.status_code == httpx.codes.NO_CONTENT:
            raise _NothingMore
        if not response.is_success:
            raise problem(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise NoStream
        yield from _events(lines(response.iter_bytes()), place)


def _events(found: Iterator[str], place: _Place) -> Iterator[Sent]:
    data: list[str] = []
    name, last = "message", place.last
    for line in found:
        place.alive = time.monotonic()
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                last = value
            elif field == "retry" and value.isdecimal():
                place.pause_s = int(value) / 1000
            continue
        # only a whole event counts as received
        place.last = last
        if data:
            yield Sent(name, _parsed("\n".join(data)), last)
        name, data = "message", []


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnexpectedAnswer("the stream holds something that is no JSON") from error
