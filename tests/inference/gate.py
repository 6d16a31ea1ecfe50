"""A TCP relay in front of Triton that can keep requests waiting, and go away."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Gate:
    """Relays a port to `target`. While it is held, what clients send stays here; `posts` counts the inferences."""

    def __init__(self, target: str) -> None:
        host, _, port = target.partition(":")
        self._target = (host, int(port))
        self._open = threading.Event()
        self._open.set()
        self.posts, self.arrived = 0, threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Go away, with all connections."""
        if self._listener is None:
            return
        # a thread that waits in accept keeps a closed socket alive
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._listener = None
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets.clear()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep what is sent to Triton until the end of the block, or `release`."""
        self.hold()
        try:
            yield
        finally:
            self.release()

    def hold(self) -> None:
        self.arrived.clear()
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
            except OSError:
                return
            self._sockets += [client, server]
            threading.Thread(target=self._relay, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, False), daemon=True).start()

    def _relay(self, source: socket.socket, target: socket.socket, inwards: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if inwards:
                    if data.startswith(b"POST") and b"/infer" in data[:200]:
                        self.posts += 1
                        self.arrived.set()
                    self._open.wait()
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
