"""Runs one attempt of one job in a process of its own: `python -m services.worker.child`.

The job comes as JSON on standard input, reports go to the pipe that MEDCOSS_REPORT_FD names.
Exits with 0 after a result, 75 when it was stopped, 1 after an error. Of processes that train together (RANK), the
first one reports; the others tell of their errors and of the object store alone. One that has lost the others exits
with 76.
"""

import errno
import os
import signal
import sys
import threading
import traceback
import warnings
from pathlib import Path
from typing import Any

from minio.error import MinioException
from urllib3.exceptions import HTTPError

from medcoss.run import BadInput, RanksLost, Stopped
from services.core import tracing
from services.core.cache import NoRoom
from services.core.metrics import tell_s3_to
from services.core.parent import be_called, end_for_want_of_parent, end_with_parent
from services.core.settings import get_settings
from services.core.storage import DamagedFile
from services.worker.context import WorkerRun
from services.worker.errors import TritonRefused
from services.worker.process import without_folders
from services.worker.protocol import (
    PARTED,
    REPORT_FD,
    STOPPED,
    ChildJob,
    ErrorReport,
    LogReport,
    ReportWriter,
    StoreReport,
)
from services.worker.runners import run

# as `top` shows the process of a job
NAME = "medcoss-job"


def error_report(error: Exception) -> ErrorReport:
    """What to tell the job's owner of an exception; no paths and no trace."""
    if isinstance(error, BadInput):
        return ErrorReport(reason="data", detail=error.message, where=error.where)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ErrorReport(
            reason="out_of_memory", detail="memory ran out; try a smaller batch_size or a smaller model"
        )  # fmt: skip
    if isinstance(error, TritonRefused):
        return ErrorReport(reason="serving", detail=without_folders(str(error)))
    if isinstance(error, DamagedFile | NoRoom):
        return ErrorReport(reason="storage", detail=str(error))
    if isinstance(error, MinioException | HTTPError):
        return ErrorReport(reason="storage", detail=f"the object store does not answer ({type(error).__name__})")
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ErrorReport(reason="storage", detail="the worker's disk is full; make room or move MEDCOSS_CACHE_DIR")
    return ErrorReport(
        reason="code",
        detail=f"the job ended with {type(error).__name__}; the worker's log has the details, report them",
    )


def place_of(error: Exception) -> str:
    """The error and where it was raised, without the paths of this machine."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return without_folders(f"{type(error).__name__}{where}: {error}")


def main() -> int:
    """Run the job of standard input; returns the exit code."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    end_with_parent()
    end_for_want_of_parent(stop, get_settings().stop_grace_s)
    # from here on it can be asked to stop
    be_called(NAME)
    # Ctrl-C in a terminal is the platform's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # what pydicom warns of can hold header values of patients
    warnings.filterwarnings("ignore", module=r"pydicom(\..*)?")
    writer = ReportWriter(int(os.environ[REPORT_FD]))
    tell_s3_to(lambda *call: writer.send(StoreReport(operation=call[0], seconds=call[1], failed=call[2])))
    job = ChildJob.model_validate_json(sys.stdin.buffer.read())
    tracing.configure(get_settings(), "medcoss-job")
    names: dict[str, Any] = {"job_id": job.job_id, "attempt": job.attempt, "rank": os.environ.get("RANK", "0")}
    with tracing.trace(f"job {job.kind}", os.environ.get(tracing.VARIABLE), **names) as span:
        # checkpoints are stored by threads of the library
        tracing.adopt()
        code = _attempt(job, writer, stop)
        span.note(exit_code=code)
    tracing.close()
    return code


def _attempt(job: ChildJob, writer: ReportWriter, stop: threading.Event) -> int:
    try:
        context = WorkerRun(job, get_settings(), writer, stop)
        try:
            result = run(job, Path(job.work), context)
        finally:
            context.phases.end()
        if result is not None:
            writer.send(result)
    except Stopped:
        return STOPPED
    except RanksLost as error:
        # the one that failed first says what has happened
        writer.send(LogReport(level="warning", message=place_of(error)))
        return PARTED
    except Exception as error:  # noqa: BLE001 - whatever a job raises is reported, never lost
        report = error_report(error)
        if report.reason == "code":
            # the trace is for the worker's log, which takes what comes on standard error
            traceback.print_exc()
        if report.reason != "data":
            writer.send(LogReport(level="error", message=place_of(error)))
        writer.send(report)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
