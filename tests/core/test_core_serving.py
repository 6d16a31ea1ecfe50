"""Connections that say nothing sensible: each is answered with a problem, or closed in time."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import uvicorn

from services.core.serving import MAX_HEAD_BYTES, Protocol, options

PATIENCE_S = 0.4


class Hasty(Protocol):
    head_timeout_s = PATIENCE_S


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers without reading, but for /read, which wants the whole body."""
    if scope["type"] != "http":
        return
    more = scope["path"] == "/read"
    while more:
        message = await receive()
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, **options(http=Hasty, log_config=None, lifespan="off")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()


def heard(line: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    while part := line.recv(65536):
        parts.append(part)
    return b"".join(parts)


def said(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for part in parts:
            line.sendall(part)
            time.sleep(pause_s)
        return heard(line)


def problem(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in head.decode().split("\r\n"))}
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    assert headers["x-content-type-options"] == "nosniff"
    document = dict(json.loads(body))
    assert (document["status"], document["request_id"]) == (status, headers["x-request-id"])
    return document


@pytest.mark.parametrize(
    "line",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
def test_what_is_no_http_is_a_problem(port: int, line: bytes) -> None:
    assert "no HTTP/1.1 request" in problem(said(port, line), 400)["detail"]


def test_headers_that_are_too_large(port: int) -> None:
    answer = said(port, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (MAX_HEAD_BYTES + 1))
    assert str(MAX_HEAD_BYTES) in problem(answer, 431)["detail"]


@pytest.mark.parametrize("head", [b"X-A: " + b"b" * MAX_HEAD_BYTES, b"X-A: b\r\n" * 9000 + b"X-A: b"])
def test_headers_that_are_too_large_and_come_in_one_piece(port: int, head: bytes) -> None:
    """A small answer may be cut off by what was not read, so only its beginning is looked at."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_headers_that_do_not_come(port: int) -> None:
    began = time.monotonic()
    problem(said(port, *[bytes([letter]) for letter in b"GET / HTTP/1"], pause_s=PATIENCE_S / 16), 408)
    assert time.monotonic() - began >= PATIENCE_S


def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    assert said(port) == b""


def test_a_second_request_that_does_not_come_to_the_point(port: int) -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    first, _, second = said(port, whole + b"GET", b" ", pause_s=0.05).partition(b"ok")
    assert first.startswith(b"HTTP/1.1 200 ")
    problem(second, 408)


def test_a_body_that_trickles_after_its_answer_does_not_hold_the_connection(port: int) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(OSError):
            while time.monotonic() - began < 20 * PATIENCE_S:
                line.sendall(b"a")
                time.sleep(PATIENCE_S / 8)
    assert time.monotonic() - began < 20 * PATIENCE_S


def test_pipelined_requests_are_answered_in_turn(port: int) -> None:
    answer = said(
        port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 200 ") == 3


def test_a_slow_body_of_a_request_under_way_is_the_applications_matter(port: int) -> None:
    parts = [
        b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\n",
        b"a",
        b"b",
        b"c",
        b"d",
    ]
    assert said(port, *parts, pause_s=PATIENCE_S / 2).startswith(b"HTTP/1.1 200 ")


def whoami() -> Any:
    """Answers with the process that answers."""

    async def answers(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
            await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

    return answers


def test_several_processes_share_a_port_and_end_together() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    own = "tests.core.test_core_serving:whoami"
    command = [sys.executable, "-m", "services.core.serving", own, "--port", str(port), "--processes", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        found: set[int] = set()
        deadline = time.monotonic() + 30
        while len(found) < 2 and time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                found.add(int(httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text))
        server.terminate()
        assert server.wait(20) == 0
    assert len(found) == 2, "both have answered"
    assert server.pid not in found
    assert not any(psutil.pid_exists(pid) for pid in found)
