"""How the process of a job begins: anew, or forked from one that has the libraries loaded (services.worker.warm)."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol

from services.worker.protocol import REPORT_FD
from services.worker.warm import Given

COMMAND = (sys.executable, "-m", "services.worker.child")


class Ends(NamedTuple):
    """The ends of a process's pipes that are its own, and the lock of its folder, as file descriptors."""

    stdin: int
    out: int
    report: int
    lock: int


class Running(Protocol):
    """A process that was started, in a session of its own."""

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, once `wait` has returned."""

    def wait(self) -> int:
        """Until it has ended."""

    def stop(self) -> None:
        """SIGTERM for it."""

    def kill(self) -> None:
        """SIGKILL for whatever is left of it and of what it has started."""


class Anew:
    """A process of `command`."""

    def __init__(self, ends: Ends, variables: Mapping[str, str], command: Sequence[str] = COMMAND) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=ends.stdin,
            stdout=ends.out,
            stderr=subprocess.STDOUT,
            pass_fds=[ends.report, ends.lock],
            env={**variables, REPORT_FD: str(ends.report)},
            start_new_session=True,
        )

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal, once it has ended and was waited for."""
        return self._process.returncode

    def wait(self) -> int:
        """Until it has ended."""
        return self._process.wait()

    def stop(self) -> None:
        """SIGTERM for it."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for whatever is left of it and of what it has started."""
        _kill_group(self._process.pid)


class Forked:
    """A process of `services.worker.child`, forked; for jobs without GPUs, as CUDA does not survive a fork.

    It begins, and has a `pid`, once the libraries are loaded: a signal that comes earlier waits for it.
    """

    def __init__(self, ends: Ends, variables: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self.pid: int | None = None
        self._early: set[int] = set()
        self._lock, self._over = threading.Lock(), threading.Event()
        said, end = os.pipe()
        environment = os.memfd_create("environment")
        try:
            os.write(environment, json.dumps(dict(variables)).encode())
            os.lseek(environment, 0, os.SEEK_SET)
            _seed.ask(Given(environment, *ends, end), variables)
        except BaseException:
            os.close(said)
            raise
        finally:
            os.close(environment)
            os.close(end)
        threading.Thread(target=self._listen, args=(said,), daemon=True).start()

    def _listen(self, said: int) -> None:
        code = -signal.SIGKILL
        with os.fdopen(said) as lines:
            # no code comes when somebody has ended the process from which this one was forked
            for line in lines:
                what, number = line.split()
                if what == "pid":
                    self._has_begun(int(number))
                else:
                    code = int(number)
        self.returncode = code
        self._over.set()

    def _has_begun(self, pid: int) -> None:
        with self._lock:
            self.pid = pid
            for number in self._early:
                _signal(pid, number)

    def wait(self) -> int:
        """Until it has ended."""
        self._over.wait()
        assert self.returncode is not None
        return self.returncode

    def stop(self) -> None:
        """SIGTERM for it."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for whatever is left of it and of what it has started."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        with self._lock:
            if self.pid is None:
                self._early.add(number)
            else:
                _signal(self.pid, number)


def _signal(pid: int, number: int) -> None:
    if number == signal.SIGKILL:
        _kill_group(pid)
        return
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


class _Seed:
    """The process from which others are forked: one a worker, started when it is needed first, or again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, given: Given, variables: Mapping[str, str]) -> None:
        """Have a process forked. Raises OSError when none can be started."""
        with self._lock:
            try:
                self._send(given, variables)
            except BrokenPipeError:
                # somebody has ended it while it had nothing to do
                self._close()
                self._send(given, variables)

    def _send(self, given: Given, variables: Mapping[str, str]) -> None:
        if self._socket is None:
            self._socket = self._start(variables)
        socket.send_fds(self._socket, [b"1"], list(given))

    def _start(self, variables: Mapping[str, str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            # what libraries read as they are loaded is the same for all jobs
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.worker.warm", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                # and none that looks for GPUs as it is loaded may find one
                env={**variables, "TMPDIR": tempfile.gettempdir(), "CUDA_VISIBLE_DEVICES": ""}, start_new_session=True,
            )  # fmt: skip
        return ours

    def _close(self) -> None:
        assert self._socket is not None and self._process is not None
        self._socket.close()
        self._socket = None
        self._process.wait()


_seed = _Seed()
