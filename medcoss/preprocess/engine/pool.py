"""Processes that carry out tasks. Their order is the caller's: results come in the order of the tasks.

The processes are plain `python -m medcoss.preprocess.engine.pool`, each on a socket of its own: nothing is forked
from a process with threads, a caller's script is not imported again, and a parent that dies takes them along. A
process that dies, by a file that breaks its decoder say, is replaced, and its items are tried one by one.
"""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from types import TracebackType

from medcoss.preprocess.engine.records import write_end
from medcoss.preprocess.engine.work import Task, carry_out, crashed

# tasks a process that may be made before they are taken
_AHEAD = 4
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


class TaskFailed(Exception):
    """A recipe raised what it may not raise; the text is its traceback."""


class _Process:
    """One child, busy with at most one task."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "medcoss.preprocess.engine.pool", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=os.environ | _THREADS | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        self.connection = Connection(ours.detach())
        self.place: int | None = None

    def give(self, place: int, task: Task) -> None:
        """Begin a task."""
        self.place = place
        try:
            self.connection.send(task)
        except BrokenPipeError:
            # it has died meanwhile; reading tells
            return

    def taken(self) -> bool:
        """True when its task is done, False when it has died. Raises TaskFailed."""
        try:
            failure = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return False
        if failure is not None:
            raise TaskFailed(failure)
        return True

    def end(self) -> None:
        """Kill it."""
        self.connection.close()
        self._process.kill()
        self._process.wait()


class Pool:
    """`processes` children. As a context, it ends them."""

    def __init__(self, processes: int) -> None:
        self._wanted = processes
        self._processes: list[_Process] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        for process in self._processes:
            process.end()

    def run(self, tasks: Iterator[Task], should_stop: Callable[[], bool]) -> Iterator[Task]:
        """Carry out the tasks and give each back, in their order, when its records are written.

        When asked to stop it begins no more and ends after what is done already.
        """
        waiting: deque[tuple[Task, bool]] = deque()
        first, following = 0, next(tasks, None)
        while True:
            while following is not None and not should_stop() and len(waiting) < self._wanted * _AHEAD:
                free = self._free()
                if free is None:
                    break
                free.give(first + len(waiting), following)
                waiting.append((following, False))
                following = next(tasks, None)
            if not waiting:
                return
            if not waiting[0][1]:
                if should_stop():
                    return
                self._collect(waiting, first)
            while waiting and waiting[0][1]:
                first += 1
                yield waiting.popleft()[0]

    def _free(self) -> _Process | None:
        """A process without a task."""
        free = next((process for process in self._processes if process.place is None), None)
        if free is None and len(self._processes) < self._wanted:
            free = _Process()
            self._processes.append(free)
        return free

    def _collect(self, waiting: deque[tuple[Task, bool]], first: int) -> None:
        """Wait a moment for the next results."""
        busy = {process.connection: process for process in self._processes if process.place is not None}
        for connection in wait(list(busy), timeout=0.5):
            process = busy[connection]
            assert process.place is not None
            index = process.place - first
            task = waiting[index][0]
            if not process.taken():
                self._processes.remove(process)
                process.end()
                _one_by_one(task)
            process.place = None
            waiting[index] = (task, True)


def run_here(tasks: Iterator[Task], should_stop: Callable[[], bool]) -> Iterator[Task]:
    """Carry out the tasks in this process: what is done before a child has started is not worth one."""
    for task in tasks:
        if should_stop():
            return
        carry_out(task)
        yield task


def _one_by_one(task: Task) -> None:
    """Carry out a task whose process has died: each item in its own file and, after a death, in a new process."""
    single = task.target.with_suffix(".single")
    process = _Process()
    try:
        with task.target.open("wb") as whole:
            for number, item in task.items:
                process.give(0, replace(task, items=[(number, item)], target=single))
                if process.taken():
                    whole.write(single.read_bytes())
                else:
                    write_end(whole, crashed(number, item))
                    process.end()
                    process = _Process()
    finally:
        process.end()
        single.unlink(missing_ok=True)


def _serve(descriptor: int) -> None:
    """Carry out tasks until the parent is gone."""
    import traceback
    import warnings

    # what pydicom warns of can hold header values of patients
    warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")
    # they are for the parent, which ends its children itself
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = Connection(descriptor)
    while True:
        try:
            task = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            carry_out(task)
            failure = None
        except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
            failure = traceback.format_exc()
        connection.send(failure)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
