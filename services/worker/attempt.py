"""One attempt of a job: run it in a child process, keep its lease, store what it reports, write its end."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from services.core import attempts
from services.core.attempts import Artifact, Claim
from services.core.db import Database
from services.core.errors import Conflict, NotFound
from services.core.lifecycle import State
from services.core.metrics import s3_called
from services.core.settings import Settings
from services.worker.outcome import Outcome, settle
from services.worker.process import LINE_LIMIT, Said
from services.worker.protocol import (
    REPORTS,
    ArtifactReport,
    CheckpointReport,
    ChildJob,
    ErrorReport,
    EventReport,
    LogReport,
    MetricsReport,
    ProgressReport,
    ResultReport,
    StoreReport,
)
from services.worker.team import Processes, Team
from services.worker.workdir import WorkFolder, work_folder

T = TypeVar("T")
LEVELS = frozenset({"debug", "info", "warning", "error"})
_log = structlog.get_logger()


class LeaseLost(Exception):
    """Somebody else has the job now, or may have: publish nothing."""


@dataclass
class Pending:
    """Reports that have come since they were last stored."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    logs: list[tuple[str, str]] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    progress: ProgressReport | None = None
    checkpoint: int | None = None

    def add_log(self, level: str, message: str) -> None:
        """Take a line; PostgreSQL stores no zero bytes."""
        text = message[:LINE_LIMIT].replace("\0", "")
        if text:
            self.logs.append((level if level in LEVELS else "info", text))


class Pace:
    """Seconds to go, at the pace since the attempt's first report."""

    def __init__(self) -> None:
        self._began: tuple[float, int] | None = None

    def eta(self, progress: ProgressReport) -> float | None:
        """None until there is a pace."""
        moment = time.monotonic()
        if self._began is None or progress.done < self._began[1]:
            self._began = (moment, progress.done)
        done = progress.done - self._began[1]
        return (progress.total - progress.done) * (moment - self._began[0]) / done if done > 0 else None


class Attempt:
    """The life of one child process, or of those that train together."""

    def __init__(self, settings: Settings, database: Database, claim: Claim, shutting_down: threading.Event,
                 prepare: Callable[[Session, Claim, WorkFolder], ChildJob],
                 gather: Callable[[ChildJob, WorkFolder], Processes] | None = None) -> None:  # fmt: skip
        """`gather` starts the processes; those of this machine where it is None."""
        self.settings, self.database, self.claim = settings, database, claim
        self.shutting_down, self.prepare = shutting_down, prepare
        self.gather = gather or (lambda job, folder: Team(job, settings, folder, claim.gpus))
        self.pending, self.outcome, self.pace = Pending(), Outcome(), Pace()
        self.errors: dict[int, ErrorReport] = {}
        self.renewed = time.monotonic()
        self.kill_at: float | None = None

    def run(self) -> State | None:
        """Run to the end; the state that the job is in then, or None when the lease was lost."""
        try:
            try:
                with work_folder(self.settings.cache_dir / "work", self.claim.job_id) as folder:
                    job = self._patiently(lambda session: self.prepare(session, self.claim, folder))
                    self._supervise(job, folder)
            except NotFound as error:
                self.outcome.error = ErrorReport(reason="data", detail=f"{error.detail}; it has been deleted")
            except Conflict as error:
                self.outcome.error = ErrorReport(reason="data", detail=error.detail)
            except LeaseLost:
                raise
            except Exception:  # noqa: BLE001 - an attempt that nobody ends would block its job until the lease is over
                _log.exception("supervision_failed")
                self.outcome.error = ErrorReport(reason="code", detail="the worker could not run the job; see its log")
            return self._finish()
        except LeaseLost:
            _log.warning("lease_lost")
            return None

    def _supervise(self, job: ChildJob, folder: WorkFolder) -> None:
        team = self.gather(job, folder)
        try:
            while not team.ended():
                self._collect(team, self.settings.heartbeat_s / 2)
                self._watch(team)
            self._collect(team, 0)
        finally:
            team.finish()
        self.outcome.exit_code, self.outcome.memory_ran_out = team.exit_code, team.memory_ran_out
        if team.failed is not None:
            self.outcome.error, self.outcome.who = self.errors.get(team.failed), team.name_of(team.failed)
        self.outcome.lost = team.lost
        if self.outcome.stop is None and self.shutting_down.is_set():
            # the system has told worker and child at the same time
            self.outcome.stop = "shutdown"

    def _collect(self, team: Processes, wait_s: float) -> None:
        """Take all reports that are there, waiting for the first one at most `wait_s`."""
        try:
            said = team.reports.get(timeout=wait_s) if wait_s else team.reports.get_nowait()
            while True:
                if said is not None:
                    self._take(team, said)
                said = team.reports.get_nowait()
        except queue.Empty:
            return

    def _take(self, team: Processes, said: Said) -> None:
        entry = said.entry
        try:
            report = entry if isinstance(entry, LogReport) else REPORTS.validate_json(entry)
        except ValidationError:
            # the last line of a killed child can be cut off
            self.pending.add_log("warning", "a report of the job could not be read")
            return
        if isinstance(report, ProgressReport):
            self.pending.progress = report
        elif isinstance(report, MetricsReport):
            self.pending.metrics.append((report.step, report.values))
        elif isinstance(report, LogReport):
            self.pending.add_log(report.level, team.marked(said.rank, report.message))
        elif isinstance(report, ArtifactReport):
            self.pending.artifacts.append(Artifact(report.name, report.key, report.content_type, report.size))
        elif isinstance(report, EventReport):
            self.pending.events.append((report.event, {"modality": report.modality, **report.values}))
        elif isinstance(report, CheckpointReport):
            self.pending.checkpoint = report.step
        elif isinstance(report, StoreReport):
            s3_called(report.operation, report.seconds, report.failed)
        elif isinstance(report, ResultReport):
            self.outcome.result = report
        elif isinstance(report, ErrorReport):
            self.errors[said.rank] = report
            team.failing(said.rank, said.at)

    def _watch(self, team: Processes) -> None:
        """Renew the lease, store what has come, pass orders on. Raises LeaseLost."""
        if self.kill_at is not None and time.monotonic() > self.kill_at:
            _log.warning("grace_over")
            team.kill()
        if self.shutting_down.is_set():
            self._stop(team, "shutdown")
        if time.monotonic() - self.renewed < self.settings.heartbeat_s:
            return
        began = time.monotonic()
        try:
            with self.database.session() as session:
                orders = self._heartbeat(session)
        except (OperationalError, InterfaceError) as error:
            self._bear(error)
            return
        except DBAPIError:
            # one report that cannot be stored must not end the work of days
            _log.exception("reports_refused")
            self.pending = Pending()
            return
        self.pending, self.renewed = Pending(), began
        if orders.stop:
            self._stop(team, orders.stop)

    def _heartbeat(self, session: Session) -> attempts.Orders:
        orders = attempts.renew(session, self.claim.job_id, self.claim.fence, self.settings.lease_s)
        if orders is None:
            raise LeaseLost
        self._flush(session)
        return orders

    def _flush(self, session: Session) -> None:
        job_id, fence, pending = self.claim.job_id, self.claim.fence, self.pending
        attempts.record_rows(
            session, job_id, fence, metrics=pending.metrics, logs=pending.logs, artifacts=pending.artifacts,
            events=pending.events,
        )  # fmt: skip
        if pending.checkpoint is not None:
            attempts.record_checkpoint(session, job_id, fence, pending.checkpoint)
        if pending.progress:
            p = pending.progress
            attempts.record_progress(
                session, job_id, fence, done=p.done, total=p.total, message=p.message.replace("\0", ""),
                eta_s=self.pace.eta(p),
            )  # fmt: skip

    def _finish(self) -> State:
        """Store the last reports and the end of the attempt; what the database refuses is left out."""
        try:
            return self._end()
        except DBAPIError:
            _log.exception("reports_refused")
            self.pending = Pending()
        try:
            return self._end()
        except DBAPIError:
            _log.exception("outcome_refused")
            self.outcome = Outcome(error=ErrorReport(reason="code", detail="what the job made could not be registered"))
        return self._end()

    def _end(self) -> State:
        def end(session: Session) -> State | None:
            self._flush(session)
            return settle(session, self.claim, self.outcome)

        state = self._patiently(end)
        if state is None:
            raise LeaseLost
        return state

    def _patiently(self, work: Callable[[Session], T]) -> T:
        """Do `work` in a transaction, again and again while the database does not answer and the lease lasts.

        Raises LeaseLost, and what time does not mend.
        """
        while True:
            try:
                with self.database.session() as session:
                    return work(session)
            except (OperationalError, InterfaceError) as error:
                self._bear(error)
                threading.Event().wait(min(self.settings.heartbeat_s, 1))

    def _bear(self, error: DBAPIError) -> None:
        """A database may be away for less than the lease; raises LeaseLost after that."""
        silent = time.monotonic() - self.renewed
        _log.warning("database_failed", error=type(error.orig).__name__, silent_s=round(silent, 1))
        if silent > self.settings.lease_s:
            raise LeaseLost from error

    def _stop(self, team: Processes, why: str) -> None:
        if self.outcome.stop is None:
            self.outcome.stop = why
            self.kill_at = time.monotonic() + self.settings.stop_grace_s
            team.stop()
