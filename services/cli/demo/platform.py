"""The platform that the demo starts and stops itself."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcoss.client import Client
from services.embedded.process import Process, Server
from services.embedded.servers import free_port_pair, port_is_free
from services.embedded.state import read_running

DEFAULT_PORT = 8000


def _port() -> int:
    """The usual port if it and the gateway's are free, else any."""
    usual = port_is_free(DEFAULT_PORT) and port_is_free(DEFAULT_PORT + 1)
    return DEFAULT_PORT if usual else free_port_pair()


@contextmanager
def started_platform(data_dir: Path) -> Iterator[Client]:
    """A client of a platform on `data_dir` that runs as long as the context. Raises PlatformError."""
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)

    def healthy() -> bool:
        running = read_running(data_dir)
        return running is not None and running.pid == process.pid

    argv = [sys.executable, "-m", "services.cli.main", "up", "--data-dir", str(data_dir), "--port", str(_port())]
    process = Process(
        Server(
            "platform", argv, "", healthy, data_dir / "logs" / "up.log", start_timeout_s=180, stop_timeout_s=120,
            death_signal=signal.SIGTERM,
        )
    )  # fmt: skip
    with process, Client(data_dir=data_dir) as client:
        yield client
