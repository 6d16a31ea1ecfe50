"""A process that has the libraries of jobs loaded, from which the processes of jobs are forked: they begin in
milliseconds instead of seconds. `python -m services.worker.warm FD`, where FD is a socket of the worker's.

Each byte of the socket comes with the file descriptors of one job's process (`Given`). It ends when the worker closes
its end or is gone; processes of jobs notice that their parent is gone. It has one thread and never touches a GPU:
neither survives a fork.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
from contextlib import closing, suppress
from typing import NamedTuple

from services.worker.protocol import REPORT_FD

# what nearly every job imports; a list of functions that import more when they are called would be out of date sooner
LOADED = (
    "services.worker.child", "services.worker.runners.build_buffer", "services.worker.runners.evaluate",
    "services.worker.runners.finetune", "services.worker.runners.forgetting", "services.worker.runners.preprocess",
    "services.worker.runners.pretrain", "torch._dynamo", "sklearn.metrics", "matplotlib.figure",
    "monai.inferers.utils",
)  # fmt: skip


class Given(NamedTuple):
    """File descriptors of a process that is to be: a file with its environment as JSON, standard input, standard
    output and error, the pipe of its reports, the lock of its folder, and where it is told of: `pid` and its process ID
    once it has a session of its own, and at last `code` and its exit code, negative for a signal, a line each.
    """

    environment: int
    stdin: int
    out: int
    report: int
    lock: int
    end: int


class Warm:
    """Forks processes of jobs, and tells how each has ended."""

    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._ends: dict[int, int] = {}
        self._woken, wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> bool:
        """False once the worker is gone; True in the process of a job."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._asked, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fd == self._woken:
                        os.read(self._woken, 4096)
                        self._tell_ends()
                        continue
                    byte, given, _, _ = socket.recv_fds(self._asked, 1, len(Given._fields))
                    if not byte:
                        return False
                    if self._fork(Given(*given)):
                        return True

    def _fork(self, given: Given) -> bool:
        """True in the new process."""
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (*self._ends.values(), self._woken):
                os.close(fd)
            self._asked.close()
            _become(given)
            return True
        for fd in given[:-1]:
            os.close(fd)
        self._ends[pid] = given.end
        return False

    def _tell_ends(self) -> None:
        while self._ends:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            end = self._ends.pop(pid)
            _tell(end, b"code %d\n" % os.waitstatus_to_exitcode(status))
            os.close(end)


def _tell(end: int, line: bytes) -> None:
    # nobody may want to know any more
    with suppress(BrokenPipeError):
        os.write(end, line)


def _become(given: Given) -> None:
    """Be as a process that was started anew: of a session of its own, with its own streams and environment."""
    os.setsid()
    _tell(given.end, b"pid %d\n" % os.getpid())
    os.close(given.end)
    with os.fdopen(given.environment, encoding="utf-8") as file:
        variables: dict[str, str] = json.load(file)
    os.environ.clear()
    os.environ.update(variables | {REPORT_FD: str(given.report)})
    for fd, standard in ((given.stdin, 0), (given.out, 1), (given.out, 2)):
        os.dup2(fd, standard)
    os.close(given.stdin)
    os.close(given.out)
    # it was the folder of the process that has loaded the libraries
    tempfile.tempdir = None


def main() -> int:
    """Load the libraries and fork until the worker is gone; returns the exit code, also in processes of jobs."""
    # Ctrl-C in a terminal is the platform's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in LOADED:
        importlib.import_module(module)
    # a collection in a process of a job would write to every page that it shares
    gc.collect()
    gc.freeze()
    with closing(socket.socket(fileno=int(sys.argv[1]))) as asked:
        if not Warm(asked).serve():
            return 0
    from services.worker.child import main as run_job

    return run_job()


if __name__ == "__main__":
    sys.exit(main())
