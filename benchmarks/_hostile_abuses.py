"""What is no proper HTTP: each abuse says what a server may answer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

# what a server says to what is no HTTP (docs/api.md, Errors); 0: it closes the connection without a word
REFUSED = frozenset({400, 408, 413, 431})
FINE = frozenset({200, 401, 404, 405, 422})


@dataclass(frozen=True)
class Abuse:
    """Bytes for a connection: in pieces, with a pause between them. `allowed` are statuses of answers."""

    name: str
    pieces: tuple[bytes, ...]
    allowed: frozenset[int]
    pause_s: float = 0.0
    answers: int = 1

    def words(self) -> str:
        """A line that finds it again."""
        return f"wire {self.name}: {b''.join(self.pieces)[:160]!r}"


Make = Callable[[Random, bytes], bytes]
_GET, _POST = b"GET /v1/me HTTP/1.1\r\n", b"POST /v1/jobs HTTP/1.1\r\nContent-Type: application/json\r\n"
_SECOND = b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
_NONE: frozenset[int] = frozenset()
_CLOSED = frozenset({0})


def _line(*lines: bytes) -> Make:
    return lambda rng, head: rng.choice(lines) + head + b"\r\n"


def _header(*lines: bytes, start: bytes = _GET) -> Make:
    return lambda rng, head: start + head + rng.choice(lines) + b"\r\n\r\n"


def _body(*shapes: tuple[bytes, bytes]) -> Make:
    def make(rng: Random, head: bytes) -> bytes:
        header, body = rng.choice(shapes)
        return _POST + head + header + b"\r\n\r\n" + body

    return make


_QUICK: tuple[tuple[str, frozenset[int], Make], ...] = (
    ("garbage", _CLOSED, lambda rng, _: rng.randbytes(rng.choice((1, 20, 500, 70_000))) + b"\r\n\r\n"),
    (
        "TLS to a plain port",
        _CLOSED,
        lambda rng, _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500) + b"\r\n\r\n",
    ),
    ("HTTP/2", _CLOSED | FINE, lambda *_: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (
        "line",
        _CLOSED | FINE,
        _line(
            b"GET /\r\n",
            b"GET\r\n",
            b"\r\n\r\n",
            b"GET  /v1/me HTTP/1.1\r\n",
            b"GET /v1/me HTTP/9.9\r\n",
            b"GET /v1/me HTTP/1.1 x\r\n",
            b"G\x00T / HTTP/1.1\r\n",
            b"GET /\x00 HTTP/1.1\r\n",
            b"GET /a b HTTP/1.1\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\n",
            b"GET v1/me HTTP/1.1\r\n",
            b"GET http://evil.example/v1/me HTTP/1.1\r\n",
            b"CONNECT evil.example:443 HTTP/1.1\r\n",
            b"OPTIONS * HTTP/1.1\r\n",
            b"GET * HTTP/1.1\r\n",
            b"get /v1/me HTTP/1.1\r\n",
            b"A" * 5000 + b" / HTTP/1.1\r\n",
            b"GET /v1/me HTTP/1.0\r\n",
            b"GET /v1/me?a=\r\nX-Injected: 1 HTTP/1.1\r\n",
            b"GET /v1/jobs?cursor=%0d%0aX-Injected:%201 HTTP/1.1\r\n",
            b"GET /v1/jobs/%0d%0aX-Injected:%201 HTTP/1.1\r\n",
            b"TRACE /v1/me HTTP/1.1\r\n",
            b"GET /%0d%0aX-Injected:%201/ HTTP/1.1\r\n",
            b"PROPFIND /v1/jobs HTTP/1.1\r\n",
            b"GET /../../etc/passwd HTTP/1.1\r\n",
        ),
    ),
    (
        "long line",
        _NONE,
        lambda rng, head: b"GET /" + b"a" * rng.choice((66_000, 200_000)) + b" HTTP/1.1\r\n" + head + b"\r\n",
    ),
    (
        "long headers",
        _NONE,
        lambda rng, head: (
            _GET + head + b"X-A: b\r\n" * 10_000 + b"\r\n"
            if rng.random() < 0.5
            else _GET + head + b"X-A: " + b"b" * 100_000 + b"\r\n\r\n"
        ),
    ),
    (
        "headers",
        _CLOSED | FINE,
        _header(
            b"no colon",
            b": empty",
            b"X A: b",
            b"X-A : b",
            b"X-A: b\x00c",
            b"X-A: b\rX-Injected: 1",
            b"X-A: b\nX-Injected: 1",
            b" folded: b",
            b"X-A: b\r\n folded",
            b"X-\xff: b",
            b"X-A: \xff\xfe",
            b"Host: y",
            b"Host: evil.example\r\nX-Forwarded-Host: evil.example",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Content-Length: +5",
            b"Content-Length: 5, 5",
            b"Content-Length: 5\r\nContent-Length: 6",
            b"Content-Length: 0x5",
            b"Content-Length: " + b"9" * 25,
            b"Content-Length: " + b"9" * 5000,
            b"Transfer-Encoding: x",
            b"Transfer-Encoding: chunked, gzip",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding:",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
            b"Expect: 200-ok",
            b"Connection: close, x" * 50,
            b"X-Request-Id: a\tX-Injected: 1",
            b"Traceparent: 00-x-y-z",
            b"traceparent: " + b"0" * 5000,
            b"Range: bytes=0-99999999999",
            b"Cookie: a=b" * 500,
            b"Authorization: Bearer x",
            b"If-None-Match: " + b"," * 30_000,
            b"Accept-Encoding: gzip;q=\xff",
            b"X-HTTP-Method-Override: DELETE",
            b"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1",
            b"Last-Event-ID: \x7f",
        ),
    ),
    (
        "lengths",
        _CLOSED | FINE,
        _body(
            (b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + _SECOND),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 2", b"{}"),
            (b"Content-Length: 0\r\nContent-Length: 40", _SECOND),
            (b"Transfer-Encoding: xchunked", b"0\r\n\r\n"),
            (b"Transfer-Encoding: chunked, chunked", b"0\r\n\r\n"),
            (b"Transfer-Encoding: identity", b"{}"),
            (b"Transfer-Encoding : chunked", b"0\r\n\r\n" + _SECOND),
            (b"Transfer_Encoding: chunked\r\nContent-Length: 2", b"{}"),
            (b"Content-Length: 99999999999999999999", b"{}"),
            (b"Content-Length: 2", b"{}{}{}"),
            (b"Content-Length: -2", b"{}"),
            (b"Content-Length: 2 ", b"{}"),
            (b"Content-Length: 2\r\nExpect: 100-continue", b"{}"),
        ),
    ),
    (
        "chunks",
        _CLOSED | FINE,
        _body(
            *(
                (b"Transfer-Encoding: chunked", body)
                for body in (
                    b"-1\r\n{}\r\n0\r\n\r\n",
                    b"FFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
                    b"0x2\r\n{}\r\n0\r\n\r\n",
                    b"2 \r\n{}\r\n0\r\n\r\n",
                    b"2;" + b"a" * 70_000 + b"\r\n{}\r\n0\r\n\r\n",
                    b"2;a=b\r\n{}\r\n0\r\nX-Injected: 1\r\n\r\n",
                    b"2\n{}\n0\n\n",
                    b"1\r\n{}\r\n0\r\n\r\n",
                    b"2\r\n{}0\r\n\r\n",
                    b"z\r\n{}\r\n0\r\n\r\n",
                    b"\r\n\r\n",
                    b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 12_000 + b"\r\n",
                    b"02\r\n{}\r\n00\r\n\r\n",
                    b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
                )
            )
        ),
    ),
    (
        "smuggled",
        _CLOSED | FINE,
        lambda rng, head: _POST + head + b"Content-Length: %d\r\n\r\n" % len(_SECOND) + _SECOND,
    ),
    ("pipelined", FINE, lambda rng, head: (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") * rng.choice((2, 20))),
)


def abuses(rng: Random, key: str) -> Iterator[Abuse]:
    """Endless abuses, those that take long left out."""
    while True:
        name, allowed, make = rng.choice(_QUICK)
        head = f"Host: x\r\nAuthorization: Bearer {key}\r\n".encode()
        made = make(rng, head)
        yield Abuse(name, (made,), allowed, answers=100 if name == "pipelined" else 2)
