"""A child process of an attempt: started, listened to, stopped, ended without leftovers."""

import json
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import structlog
from pydantic import SecretStr

from services.core import tracing
from services.core.settings import Settings
from services.worker.oom import oom_kills
from services.worker.protocol import ChildJob, LogReport
from services.worker.starting import Anew, Ends, Forked, Running
from services.worker.workdir import WorkFolder

Begin = Callable[[Ends, Mapping[str, str]], Running]
# how a process of a job begins, by whether it needs a Python of its own
BEGIN: dict[bool, Begin] = {True: Anew, False: Forked}
LAST_WORDS_S = 3.0
LINE_LIMIT = 8000
# a job has no business with these
_NOT_FOR_JOBS = frozenset({"database_url", "redis_url", "bootstrap_admin_key", "encryption_key"})
_FOLDERS = re.compile(r"(?<![\w./])(?:/[\w.@+~-]+)+/(?=[\w.<])")

_log = structlog.get_logger()


def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a child has the same settings as `settings`, but for what jobs must not see."""
    variables = dict(os.environ)
    # it would leave a file of numbers behind for every job
    variables.pop("PROMETHEUS_MULTIPROC_DIR", None)
    for name, value in settings:
        variable = f"MEDCOSS_{name.upper()}"
        if name in _NOT_FOR_JOBS or value is None:
            variables.pop(variable, None)
        else:
            variables[variable] = _written(value)
    return variables


def _written(value: Any) -> str:
    """A setting as an environment variable."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def without_folders(text: str) -> str:
    """A line with the folders of this machine cut from its paths."""
    return _FOLDERS.sub("", text)


@dataclass(frozen=True)
class Said:
    """A report line of a process, or a line that it has printed, and when it came, in seconds of the monotonic clock;
    `rank` is the place of the process among those of its attempt.
    """

    rank: int
    entry: bytes | LogReport
    at: float


Reports = queue.Queue[Said | None]


class Child:
    """A running `services.worker.child`, with a Python of its own if it is to be `anew`, else forked.

    `reports` gets what it says, and None when it has ended. `ended_at` is when that was, `failed_at` when it has told
    of an error, for those who compare; in seconds of the monotonic clock.
    """

    def __init__(self, job: ChildJob, settings: Settings, folder: WorkFolder, reports: Reports, rank: int,
                 place: Mapping[str, str], *, anew: bool) -> None:  # fmt: skip
        self.rank = rank
        self.ended_at: float | None = None
        self.failed_at: float | None = None
        self._reports = reports
        self._log = structlog.get_logger().bind(job_id=job.job_id, attempt=job.attempt, rank=rank, **tracing.ids())
        self._oom_kills = oom_kills()
        variables = environment(settings) | {
            tracing.VARIABLE: tracing.traceparent() or "",
            "PYTHONUNBUFFERED": "1",
            # threads that spin while they wait slow training tenfold as soon as anything else wants a core
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            # checkpoints are written here first; a killed process leaves nothing in the system's folder
            "TMPDIR": str(folder.path),
            **place,
        }
        (stdin, into_fd), (out_fd, out), (said_fd, report) = os.pipe(), os.pipe(), os.pipe()
        try:
            self._process = BEGIN[anew](Ends(stdin, out, report, folder.lock_fd), variables)
        except BaseException:
            for fd in (into_fd, out_fd, said_fd):
                os.close(fd)
            raise
        finally:
            for fd in (stdin, out, report):
                os.close(fd)
        printed, said, into = os.fdopen(out_fd, "rb"), os.fdopen(said_fd, "rb"), os.fdopen(into_fd, "wb")
        document = job.model_dump_json().encode()
        self._readers = [
            self._thread(lambda: self._read(said, lambda line: line)),
            self._thread(lambda: self._read(printed, self._printed)),
        ]
        # a child that never reads must not stop its supervisor
        self._thread(lambda: _write(into, document))
        self._thread(self._note_end)

    @staticmethod
    def _thread(work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _read(self, pipe: IO[bytes], entry: Callable[[bytes], bytes | LogReport]) -> None:
        with pipe:
            for line in pipe:
                self._reports.put(Said(self.rank, entry(line), time.monotonic()))

    def _note_end(self) -> None:
        self._process.wait()
        self.ended_at = time.monotonic()
        self._reports.put(None)

    def _printed(self, line: bytes) -> LogReport:
        """Whole for the worker's log, without the folders of this machine for the job's."""
        text = line.decode(errors="replace").rstrip()[:LINE_LIMIT]
        self._log.info("job_printed", line=text)
        return LogReport(level="debug", message=without_folders(text))

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def memory_ran_out(self) -> bool:
        """True when it ended badly and the system has ended a process for want of memory meanwhile."""
        now = oom_kills()
        return bool(self.exit_code) and now is not None and self._oom_kills is not None and now > self._oom_kills

    def stop(self) -> None:
        """SIGTERM: write a checkpoint and end."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL for whatever is left of the child and of what it has started."""
        self._process.kill()

    def finish(self) -> None:
        """End it if it still runs, and take what it has said last.

        What it has started ends too. Only a process that has made itself independent can keep the pipes open;
        it is waited for no longer than LAST_WORDS_S.
        """
        self.kill()
        self._process.wait()
        until = time.monotonic() + LAST_WORDS_S
        for reader in self._readers:
            reader.join(max(until - time.monotonic(), 0))
        self._readers.clear()


def _write(pipe: IO[bytes], document: bytes) -> None:
    try:
        with pipe:
            pipe.write(document)
    except BrokenPipeError:
        _log.warning("child_ended_before_its_job_came")
