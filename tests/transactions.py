"""Notes every network call of a thread that has a database transaction open: none may wait for a network.

It looks at sockets, whatever library uses them. Drivers of databases have their own.
"""

import socket
import threading
import traceback
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event

_CALLS = ("connect", "connect_ex", "send", "sendall", "sendto", "sendmsg")
_INTERNET = {socket.AF_INET, socket.AF_INET6}
# connections with a transaction, and the thread that has begun it; another one may end it
_open: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
_lock = threading.Lock()
found: list[str] = []


def _note(call: str) -> None:
    with _lock:
        waits = threading.get_ident() in _open.values()
    if waits:
        stack = [f for f in traceback.extract_stack()[:-2] if "site-packages" not in f.filename]
        found.append(f"{call} while a transaction is open:\n" + "".join(traceback.format_list(stack[-12:])))


def _watched(name: str) -> Callable[..., Any]:
    original = getattr(socket.socket, name)

    def call(self: socket.socket, *given: Any, **named: Any) -> Any:
        if self.family in _INTERNET:
            _note(f"socket.{name}")
        return original(self, *given, **named)

    return call


def watch() -> None:
    """Begin to look, for the rest of this process."""
    for name in _CALLS:
        setattr(socket.socket, name, _watched(name))
    look_up = socket.getaddrinfo

    def getaddrinfo(*given: Any, **named: Any) -> Any:
        _note("getaddrinfo")
        return look_up(*given, **named)

    socket.getaddrinfo = getaddrinfo

    def begun(connection: Connection) -> None:
        with _lock:
            _open[connection] = threading.get_ident()

    def ended(connection: Connection) -> None:
        with _lock:
            _open.pop(connection, None)

    event.listen(Engine, "begin", begun)
    event.listen(Engine, "commit", ended)
    event.listen(Engine, "rollback", ended)
