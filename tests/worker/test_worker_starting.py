"""Processes of jobs that are forked from one which has the libraries loaded."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest

from services.worker.child import NAME
from services.worker.starting import Ends, Forked
from tests.worker.work import until as until_within

# a process that has the libraries loaded is soon there, on a busy machine within
until = partial(until_within, seconds=120)


class Job:
    """A process that waits for its job on standard input; nothing is left of it afterwards."""

    def __init__(self, folder: Path, **variables: str) -> None:
        stdin, self._into = os.pipe()
        self._printed, out = os.pipe()
        self._said, report = os.pipe()
        lock = os.open(folder / "lock", os.O_CREAT)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MEDCOSS_")}
        self.running = Forked(Ends(stdin, out, report, lock), inherited | variables)
        for fd in (stdin, out, report, lock):
            os.close(fd)

    @property
    def process(self) -> psutil.Process:
        """The process, once it is there."""
        return psutil.Process(until(lambda: self.running.pid))

    def give(self, document: bytes) -> None:
        """All that comes on standard input."""
        os.write(self._into, document)
        os.close(self._into)
        self._into = -1

    def printed(self) -> str:
        """All that it has printed, once nobody can print any more."""
        with os.fdopen(self._printed, closefd=False) as file:
            return file.read()

    def close(self) -> None:
        """Nothing is left of it."""
        self.running.kill()
        self.running.wait()
        for fd in {self._into, self._printed, self._said} - {-1}:
            os.close(fd)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start processes of jobs."""
    started: list[Job] = []

    def begin(**variables: str) -> Job:
        started.append(Job(tmp_path, **variables))
        return started[-1]

    yield begin
    for job in started:
        with closing(job):
            pass


def test_a_process_is_as_one_that_was_started_anew(start: Callable[..., Job]) -> None:
    job = start(MEDCOSS_LOG_LEVEL="nonsense")
    process = job.process
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    assert until(lambda: process.name() == NAME)
    job.give(b'{"job_id": 1}')
    assert job.running.wait() == 1
    printed = job.printed()
    assert "ValidationError" in printed and "ChildJob" in printed, "it has read its job, and its errors come here"


def test_each_has_the_environment_that_it_is_given_and_pipes_of_its_own(start: Callable[..., Job]) -> None:
    first, second = start(), start()
    for job in (first, second):
        process = job.process
        until(lambda: process.name() == NAME)  # noqa: B023
    first.running.stop()
    first.give(b"")
    # a copy of its pipe in the second process would keep this from ending
    assert "ValidationError" in first.printed()
    assert first.running.wait() == 1, "SIGTERM asks a job to stop, and does not end it"
    assert second.running.returncode is None and second.process.is_running()


def test_one_that_is_killed_before_it_is_there_does_nothing(start: Callable[..., Job]) -> None:
    job = start()
    job.running.kill()
    assert job.running.wait() == -signal.SIGKILL
    assert not job.printed()


def test_the_process_that_has_the_libraries_may_be_lost(start: Callable[..., Job]) -> None:
    """Its jobs are told and counted as killed; the next one finds another."""
    job = start()
    process = job.process
    loaded = process.parent()
    assert loaded is not None
    loaded.kill()
    assert job.running.wait() == -signal.SIGKILL
    job.give(b"")
    until(lambda: not process.is_running())
    other = start()
    assert other.process.parent() not in {loaded, None}
