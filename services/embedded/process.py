"""A part of the platform as a process of its own: start, health, stop without leftovers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

POLL_S = 0.1
LAUNCH = Path(__file__).with_name("launch.py")


class PlatformError(Exception):
    """The platform cannot run; the message is one sentence that says why and what to do."""


@dataclass(frozen=True)
class Server:
    """How to run a part and how to tell that it works.

    `death_signal` reaches it when its starter dies; `litter` are files that it forgets to remove.
    """

    name: str
    argv: list[str]
    address: str
    healthy: Callable[[], bool]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    start_timeout_s: float = 60
    stop_timeout_s: float = 20
    death_signal: int = signal.SIGTERM
    litter: tuple[Path, ...] = ()


class Process:
    """One running server, in its own process group; as a context it is started and stopped."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self) -> None:
        """Start the program; it logs to its file and ends when this process does."""
        self.server.log.parent.mkdir(parents=True, exist_ok=True)
        with self.server.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), str(int(self.server.death_signal)), *self.server.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self.server.env,
                cwd=self.server.cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def wait_healthy(self, give_up: Callable[[], bool] = lambda: False) -> bool:
        """True once the server answers, False when `give_up` says so.

        Raises PlatformError when it ends or is silent too long.
        """
        deadline = time.monotonic() + self.server.start_timeout_s
        while not give_up():
            # looked at first: another program may answer on its port
            ended = self.pid is None
            if not ended and self.server.healthy():
                return True
            if ended:
                raise PlatformError(f"{self.server.name} ended while it started; its last words: {self.last_words()}")
            if time.monotonic() > deadline:
                raise PlatformError(
                    f"{self.server.name} did not answer within {self.server.start_timeout_s:.0f} s; "
                    f"see {self.server.log}"
                )
            time.sleep(POLL_S)
        return False

    def last_words(self) -> str:
        """The last line of its log."""
        lines = [line.strip() for line in self.server.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "none"

    def ending(self) -> str:
        """How it ended: by which signal, or with which exit code."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "it runs"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def terminate(self) -> None:
        """Ask it to end, and come back at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for whatever of its family is left after `stop_timeout_s`."""
        if self._process is None:
            return
        family = self._family()
        self.terminate()
        try:
            self._process.wait(self.server.stop_timeout_s)
            _, alive = psutil.wait_procs(family, timeout=2)
        except subprocess.TimeoutExpired:
            alive = {*family, *self._family()}
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        self._process.wait()
        # children of one that had died before
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process = None
        for path in self.server.litter:
            path.unlink(missing_ok=True)

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def __enter__(self) -> "Process":
        try:
            self.launch()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.stop()
