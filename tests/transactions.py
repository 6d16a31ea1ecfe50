"""Notes every network call that is made while its caller has a database transaction open: none may wait for a network.

It looks at sockets, whatever library uses them. Drivers of databases have their own. A caller is a context: what hands
work to threads of a pool and waits for it hands its context on.
"""

import socket
import threading
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from weakref import WeakSet, ref

import gevent.socket
from sqlalchemy import Connection, Engine, event

_CALLS = ("connect", "connect_ex", "send", "sendall", "sendto", "sendmsg")
_INTERNET = {socket.AF_INET, socket.AF_INET6}
_open: WeakSet[Connection] = WeakSet()
_lock = threading.Lock()
_mine: ContextVar[tuple["ref[Connection]", ...]] = ContextVar("mine", default=())
found: list[str] = []


def _still_open() -> tuple["ref[Connection]", ...]:
    """The transactions that this context has begun and nobody has ended."""
    with _lock:
        return tuple(one for one in _mine.get() if (connection := one()) is not None and connection in _open)


def _note(call: str) -> None:
    if _still_open():
        stack = [f for f in traceback.extract_stack()[:-2] if "site-packages" not in f.filename]
        found.append(f"{call} while a transaction is open:\n" + "".join(traceback.format_list(stack[-12:])))


def _watched(original: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(self: socket.socket, *given: Any, **named: Any) -> Any:
        if self.family in _INTERNET:
            _note(f"socket.{name}")
        return original(self, *given, **named)

    return call


def watch() -> None:
    """Begin to look, for the rest of this process."""
    for kind in (socket.socket, gevent.socket.socket):
        for name in _CALLS:
            setattr(kind, name, _watched(getattr(kind, name), name))
    look_up = socket.getaddrinfo

    def getaddrinfo(*given: Any, **named: Any) -> Any:
        _note("getaddrinfo")
        return look_up(*given, **named)

    socket.getaddrinfo = getaddrinfo

    def begun(connection: Connection) -> None:
        _mine.set((*_still_open(), ref(connection)))
        with _lock:
            _open.add(connection)

    def ended(connection: Connection) -> None:
        with _lock:
            _open.discard(connection)

    event.listen(Engine, "begin", begun)
    event.listen(Engine, "commit", ended)
    event.listen(Engine, "rollback", ended)
