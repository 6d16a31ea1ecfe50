"""One attempt of a job: claim it, run it in a child process, keep its lease, store what it reports."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from medcoss.specs import JOB_KINDS
from services.core import jobs, registry
from services.core.db import Database
from services.core.jobs import Claim
from services.core.lifecycle import State
from services.core.settings import Settings
from services.core.specs import references
from services.core.storage import ObjectStore
from services.worker.outcome import Outcome, publisher, settle
from services.worker.protocol import (
    REPORT_FD,
    REPORTS,
    ArtifactReport,
    ChildJob,
    ErrorReport,
    InputRecord,
    LogReport,
    MetricsReport,
    ProgressReport,
    ResultReport,
)

_log = structlog.get_logger()
_LINE_LIMIT = 8000


@dataclass
class _Pending:
    """Reports that have come since the last heartbeat."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    artifacts: list[ArtifactReport] = field(default_factory=list)
    progress: ProgressReport | None = None


class Supervisor:
    """Runs attempts; `shutting_down` makes the present one checkpoint and go back to the queue."""

    def __init__(self, settings: Settings, shutting_down: threading.Event) -> None:
        self.settings, self.shutting_down = settings, shutting_down
        self.database = Database(settings.database_url)
        self.store = ObjectStore(settings)
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    def run_next(self) -> str | None:
        """Claim the job that is to run next and run one attempt; its id, or None when nothing is queued."""
        with self.database.session() as session:
            job_id = jobs.next_queued(session)
            claim = jobs.claim(session, job_id, self.worker, self.settings.lease_s) if job_id else None
        if claim is None:
            return job_id
        with structlog.contextvars.bound_contextvars(job_id=claim.job_id, attempt=claim.attempt):
            _log.info("attempt_started", kind=claim.kind)
            state = _Attempt(self, claim).run()
            _log.info("attempt_ended", state=state)
        return claim.job_id

    def child_job(self, claim: Claim) -> ChildJob:
        """The attempt with the records that its spec refers to."""
        inputs: dict[str, InputRecord] = {}
        with self.database.session() as session:
            for reference in references(JOB_KINDS[claim.kind].spec, claim.spec):
                found = (
                    registry.get_dataset(session, reference.id)
                    if reference.resource == "dataset"
                    else registry.get_model(session, reference.id)
                )
                inputs[reference.id] = InputRecord(
                    name=found.name, prefix=found.prefix, files=registry.entries(found.files)
                )
            version = registry.next_version(session, claim.spec["name"]) if claim.kind == "export" else 0
        return ChildJob(
            job_id=claim.job_id, kind=claim.kind, name=claim.name, spec=claim.spec, attempt=claim.attempt,
            fence=claim.fence, inputs=inputs, version=version,
        )  # fmt: skip


class _Attempt:
    """The life of one child process."""

    def __init__(self, supervisor: Supervisor, claim: Claim) -> None:
        self.supervisor, self.claim = supervisor, claim
        self.settings, self.database = supervisor.settings, supervisor.database
        self.reports: queue.Queue[bytes | LogReport] = queue.Queue()
        self.pending = _Pending()
        self.outcome = Outcome()
        self.began: tuple[float, int] | None = None
        self.renewed = time.monotonic()
        self.kill_at: float | None = None

    def run(self) -> State | None:
        """Run to the end; the state that the job is in then, or None when the lease was lost."""
        job = self.supervisor.child_job(self.claim)
        process, readers = self._spawn(job)
        try:
            while process.poll() is None or any(r.is_alive() for r in readers):
                self._collect(self.settings.heartbeat_s / 2)
                self._watch(process)
                if self.outcome.lease_lost:
                    break
            if not self.outcome.lease_lost:
                self._collect(0)
        finally:
            _kill_group(process)
            process.wait()
            for reader in readers:
                reader.join(timeout=10)
        if self.outcome.lease_lost:
            _log.warning("lease_lost")
            return None
        self.outcome.exit_code = process.returncode
        state: State | None = self._store(lambda session: self._finish(session, job))
        return state

    def _finish(self, session: Session, job: ChildJob) -> State | None:
        if jobs.holds(session, job.job_id, job.fence):
            self._flush(session)
        return settle(session, self.claim, self.outcome, publisher(job, self.outcome))

    def _spawn(self, job: ChildJob) -> tuple[subprocess.Popen[bytes], list[threading.Thread]]:
        read_end, write_end = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "services.worker.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[write_end],
            env=os.environ | {REPORT_FD: str(write_end), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        os.close(write_end)
        assert process.stdin is not None and process.stdout is not None
        readers = [
            threading.Thread(target=self._read_reports, args=(os.fdopen(read_end, "rb"),), daemon=True),
            threading.Thread(target=self._read_output, args=(process.stdout,), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            process.stdin.write(job.model_dump_json().encode())
            process.stdin.close()
        except BrokenPipeError:
            _log.warning("child_ended_at_once")
        return process, readers

    def _read_reports(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self.reports.put(line)

    def _read_output(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                text = line.decode(errors="replace").rstrip()[:_LINE_LIMIT]
                if text:
                    self.reports.put(LogReport(level="debug", message=text))

    def _collect(self, wait_s: float) -> None:
        """Take all reports that are there, waiting for the first one at most `wait_s`."""
        try:
            entry = self.reports.get(timeout=wait_s) if wait_s else self.reports.get_nowait()
            while True:
                self._take(entry)
                entry = self.reports.get_nowait()
        except queue.Empty:
            return

    def _take(self, entry: bytes | LogReport) -> None:
        if isinstance(entry, LogReport):
            self.pending.logs.append((entry.level, entry.message))
            return
        try:
            report = REPORTS.validate_json(entry)
        except ValidationError:
            # the last line of a killed child can be cut off
            self.pending.logs.append(("warning", "a report of the job could not be read"))
            return
        if isinstance(report, ProgressReport):
            self.pending.progress = report
        elif isinstance(report, MetricsReport):
            self.pending.metrics.append((report.step, report.values))
        elif isinstance(report, LogReport):
            self.pending.logs.append((report.level, report.message[:_LINE_LIMIT]))
        elif isinstance(report, ArtifactReport):
            self.pending.artifacts.append(report)
        elif isinstance(report, ResultReport):
            self.outcome.result = report
        elif isinstance(report, ErrorReport):
            self.outcome.error = report

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Renew the lease, store what has come, pass orders on."""
        if self.kill_at is not None and time.monotonic() > self.kill_at:
            _log.warning("grace_over")
            _kill_group(process)
        if self.supervisor.shutting_down.is_set() and self.outcome.stop is None:
            self._stop(process, "shutdown")
        if time.monotonic() - self.renewed < self.settings.heartbeat_s:
            return
        orders = self._store(self._heartbeat)
        if orders is None:
            self.outcome.lease_lost = True
            return
        self.renewed = time.monotonic()
        if orders.stop and self.outcome.stop is None:
            self._stop(process, orders.stop)

    def _heartbeat(self, session: Session) -> jobs.Orders | None:
        orders = jobs.renew(session, self.claim.job_id, self.claim.fence, self.settings.lease_s)
        if orders is not None:
            self._flush(session)
        return orders

    def _store(self, work: Callable[[Session], Any]) -> Any:
        """Do `work` in a transaction, again and again while the database does not answer and the lease lasts."""
        while True:
            try:
                with self.database.session() as session:
                    result = work(session)
                self.pending = _Pending()
                return result
            except DBAPIError as error:
                silent = time.monotonic() - self.renewed
                _log.warning("database_failed", error=type(error).__name__, silent_s=round(silent, 1))
                if silent > self.settings.lease_s:
                    self.outcome.lease_lost = True
                    return None
                self.supervisor.shutting_down.wait(self.settings.heartbeat_s)

    def _flush(self, session: Session) -> None:
        claim, pending = self.claim, self.pending
        jobs.add_metrics(session, claim.job_id, claim.attempt, pending.metrics)
        jobs.add_logs(session, claim.job_id, claim.attempt, pending.logs)
        for a in pending.artifacts:
            jobs.add_artifact(
                session, claim.job_id, name=a.name, key=a.key, content_type=a.content_type, size=a.size
            )  # fmt: skip
        if pending.progress:
            p = pending.progress
            jobs.record_progress(
                session, claim.job_id, claim.fence, done=p.done, total=p.total, message=p.message, eta_s=self._eta(p)
            )  # fmt: skip

    def _eta(self, progress: ProgressReport) -> float | None:
        """Seconds to go at the pace since this attempt's first report."""
        moment = time.monotonic()
        if self.began is None or progress.done < self.began[1]:
            self.began = (moment, progress.done)
        done = progress.done - self.began[1]
        if done <= 0:
            return None
        return (progress.total - progress.done) * (moment - self.began[0]) / done

    def _stop(self, process: subprocess.Popen[bytes], why: str) -> None:
        self.outcome.stop = why
        self.kill_at = time.monotonic() + self.settings.stop_grace_s
        process.send_signal(signal.SIGTERM)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL whatever is left of the child and of what it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
