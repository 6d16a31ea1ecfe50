"""The platform that the demo runs on: one it starts and stops itself, or one that is there."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcoss.client import Client
from services.embedded.process import PlatformError
from services.embedded.servers import free_port, port_is_free
from services.embedded.state import read_running

START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 120
POLL_S = 0.2
DEFAULT_PORT = 8000


def _port() -> int:
    """The usual port if it and the gateway's are free, else any."""
    port = DEFAULT_PORT
    while not (port_is_free(port) and port_is_free(port + 1)):
        port = free_port()
    return port


@contextmanager
def started_platform(data_dir: Path) -> Iterator[Client]:
    """A client of a platform on `data_dir` that runs as long as the context. Raises PlatformError."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", "up", "--data-dir", str(data_dir), "--port", str(_port())],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(process, data_dir, log)
        with Client(data_dir=data_dir) as client:
            yield client
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", data_dir: Path, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while (running := read_running(data_dir)) is None or running.pid != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines()
            raise PlatformError(words[-1] if words else f"the platform did not start; see {log}")
        time.sleep(POLL_S)
