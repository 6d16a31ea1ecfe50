"""Abuses of HTTP over sockets: what is sent, slowly or by many at once, and what is wrong with what comes back."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

from benchmarks._hostile_abuses import REFUSED, Abuse
from benchmarks._hostile_contract import PROBLEM

# nobody waits longer for headers, `services.core.serving.HEAD_TIMEOUT_S`, or for a body, the setting of the target
PATIENCE_S = 20.0
_IDLE = (b"GET /healthz HTTP/1.1\r\nX-A: ", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"")


def slow(key: str, path: str) -> Iterator[Abuse]:
    """Requests that come a byte at a time, or not to an end."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n".encode()
    )
    late = frozenset({0, 408})
    yield Abuse("slow line", tuple(bytes([b]) for b in b"GET /v1/jobs HTTP/1.1\r\n" * 3), late, 0.5)
    yield Abuse("slow headers", (b"GET /healthz HTTP/1.1\r\n", *(b"X-A: b\r\n",) * 60), late, 0.4)
    yield Abuse("silence", (), late)
    yield Abuse("slow body", (head + b"Content-Length: 1000\r\n\r\n", *(b"{",) * 60), late, 0.3)
    yield Abuse("slow chunks", (head + b"Transfer-Encoding: chunked\r\n\r\n", *(b"1\r\n{\r\n",) * 60), late, 0.3)
    yield Abuse("body that ends early", (head + b"Content-Length: 1000\r\n\r\n{",), late)
    yield Abuse("chunk that ends early", (head + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{",), late)


def violations(url: str, abuse: Abuse) -> Iterator[str]:
    """What is wrong with the answers to an abuse."""
    place = urlsplit(url)
    began = time.monotonic()
    said = _exchange((place.hostname or "", place.port or 80), abuse)
    if time.monotonic() - began > PATIENCE_S:
        yield f"the connection stayed open for {PATIENCE_S:g} s"
    if not said and 0 in abuse.allowed:
        return
    count = 0
    for status, headers, body in _answers(said):
        count += 1
        if status >= 500:
            yield f"answered {status}: {body[:200]!r}"
        elif status not in abuse.allowed | REFUSED:
            yield f"answered {status}, expected {sorted(abuse.allowed | REFUSED)}: {body[:100]!r}"
        if b"x-injected" in headers.lower():
            yield "a header was injected"
        if status >= 400:
            yield from _of_problem(status, headers, body)
    if count > abuse.answers:
        yield f"{count} answers to {abuse.answers} request"
    if count == 0 and 0 not in abuse.allowed:
        yield f"no answer: {said[:100]!r}"


def _of_problem(status: int, headers: bytes, body: bytes) -> Iterator[str]:
    if PROBLEM.encode() not in headers:
        yield f"{status} is no problem document: {body[:100]!r}"
        return
    document = json.loads(body)
    missing = {"type", "title", "status", "detail", "request_id"} - set(document)
    if missing or document["status"] != status or not document["request_id"]:
        yield f"{status} is no whole problem document: {body[:200]!r}"


def _exchange(place: tuple[str, int], abuse: Abuse) -> bytes:
    """Everything that came back until the server closed, or was silent for a second after its answer."""
    said, deadline = bytearray(), time.monotonic() + PATIENCE_S + 1
    with socket.create_connection(place, timeout=5) as line:
        try:
            for piece in abuse.pieces:
                line.sendall(piece)
                if abuse.pause_s:
                    said += _heard(line, abuse.pause_s)
            while time.monotonic() < deadline:
                line.settimeout(0.3 if said else deadline - time.monotonic() + 0.1)
                piece = line.recv(65_536)
                if not piece:
                    break
                said += piece
        except TimeoutError:
            pass
        except (ConnectionError, BrokenPipeError):
            # it closed while we were still at it: what it said first may be lost with that
            said += _rest(line)
    return bytes(said)


def _heard(line: socket.socket, seconds: float) -> bytes:
    line.settimeout(seconds)
    try:
        piece = line.recv(65_536)
    except TimeoutError:
        return b""
    if not piece:
        raise ConnectionError
    return piece


def _rest(line: socket.socket) -> bytes:
    try:
        line.settimeout(0.2)
        return line.recv(65_536)
    except OSError:
        return b""


def _answers(said: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Status, headers and body of each answer, without those that only say go on."""
    while said.startswith(b"HTTP/"):
        headers, _, said = said.partition(b"\r\n\r\n")
        status = int(headers.split(b" ", 2)[1])
        length, chunked = 0, False
        for line in headers.lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
            chunked = chunked or name == b"transfer-encoding"
        body, said = (said, b"") if chunked else (said[:length], said[length:])
        if status >= 200:
            yield status, headers, body


def crowd(url: str, number: int) -> list[str]:
    """Connections that say little, all at once; meanwhile others are answered."""
    place = urlsplit(url)
    address = (place.hostname or "", place.port or 80)
    with ExitStack() as stack:
        for count in range(number):
            line = stack.enter_context(socket.create_connection(address, timeout=5))
            line.sendall(
                (b"GET /healthz HTTP/1.1\r\nX-A: ", b"POST /v1/jobs HTTP/1.1\r\nContent-Length: 9\r\n\r\n", b"")[
                    count % 3
                ]
            )
        began = time.monotonic()
        ask = Abuse("health", (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",), frozenset({200}))
        wrong = [*violations(url, ask)]
        seconds = time.monotonic() - began
    return wrong + ([f"beside {number} idle connections an answer took {seconds:.1f} s"] if seconds > 5 else [])
