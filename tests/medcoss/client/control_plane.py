"""A real control plane over real HTTP, and a relay that loses connections in front of any server."""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from services.api.app import create_app
from services.core.db import Database, migrate
from services.core.keys import Role, store_key
from services.core.settings import Settings

KEY = "mk_test_operator"
VIEWER_KEY = "mk_test_viewer"
ADMIN_KEY = "mk_test_admin"
MAX_FILE_BYTES = 64 * 2**20


class Relay:
    """Passes bytes between callers and `target` (host:port).

    While `drops` is positive, an answer is thrown away and its connection closed; while `open` is not set,
    nothing gets through. Once callers have sent more than `limit` bytes, every connection on which more comes breaks.
    While `damages` is positive, a byte in the middle of what a caller sends is changed.
    """

    def __init__(self, target: str) -> None:
        host, port = target.split(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.drops = 0
        self.dropped = 0
        self.connections = 0
        self.carried = 0
        self.limit: int | None = None
        self.damages = 0
        self.open = threading.Event()
        self.open.set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                far = socket.create_connection(self._target)
                threading.Thread(target=self._pass, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, True), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.open.wait()
                if self._drop() if answers else self._is_over():
                    break
                sink.sendall(data if answers else self._carry(data))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> bool:
        with self._lock:
            if self.drops <= 0:
                return False
            self.drops -= 1
            self.dropped += 1
            return True

    def _is_over(self) -> bool:
        return self.limit is not None and self.carried > self.limit

    def _carry(self, data: bytes) -> bytes:
        with self._lock:
            self.carried += len(data)
            # content, and no headers
            if self.damages > 0 and len(data) == 1 << 16:
                self.damages -= 1
                return data[:-1] + bytes([data[-1] ^ 1])
        return data

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


@dataclass(frozen=True)
class ControlPlane:
    """A control plane that runs, and the relay through which its presigned URLs lead."""

    url: str
    settings: Settings
    s3_relay: Relay

    @property
    def database(self) -> Database:
        """A connection of one's own to its database."""
        return Database(self.settings.database_url)


@contextmanager
def control_plane(s3: dict[str, str], redis_url: str, folder: Path) -> Iterator[ControlPlane]:
    """A control plane with an operator's and a viewer's key; no worker, so that jobs stay queued."""
    relay = Relay(s3["endpoint"])
    settings = Settings(
        database_url=f"sqlite:///{folder / 'medcoss.db'}", redis_url=redis_url, s3_endpoint=s3["endpoint"],
        s3_public_endpoint=relay.address, s3_access_key=s3["access_key"], s3_secret_key=s3["secret_key"],
        s3_bucket=f"test-{uuid.uuid4().hex[:12]}", max_file_bytes=MAX_FILE_BYTES,
    )  # fmt: skip
    migrate(settings.database_url)
    with Database(settings.database_url).session() as session:
        store_key(session, KEY, "operator", Role.OPERATOR)
        store_key(session, VIEWER_KEY, "viewer", Role.VIEWER)
        store_key(session, ADMIN_KEY, "admin", Role.ADMIN)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.started, "the control plane did not start"
        yield ControlPlane(f"http://127.0.0.1:{listener.getsockname()[1]}", settings, relay)
    finally:
        server.should_exit = True
        thread.join(20)
        relay.close()
