"""Runs one attempt of one job in a process of its own: `python -m services.worker.child`.

The job comes as JSON on standard input, reports go to the pipe that MEDCOSS_REPORT_FD names.
Exits with 0 after a result, 75 when it was stopped after its checkpoint, 1 after an error.
"""

import os
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path

from medcoss.run import BadInput, Stopped
from services.core.parent import end_with_parent
from services.core.settings import get_settings
from services.core.storage import DamagedFile
from services.worker.context import WorkerRun
from services.worker.protocol import REPORT_FD, STOPPED, ChildJob, ErrorReport, LogReport, ReportWriter
from services.worker.runners import run


def _error(error: Exception) -> ErrorReport:
    """What to tell the supervisor of an exception; no paths and no trace."""
    if isinstance(error, BadInput):
        return ErrorReport(reason="data", detail=error.message, where=error.where)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ErrorReport(
            reason="out_of_memory", detail="memory ran out; try a smaller batch_size or a smaller model", where=""
        )
    if isinstance(error, DamagedFile):
        return ErrorReport(reason="storage", detail=str(error))
    return ErrorReport(
        reason="code", detail=f"the job ended with {type(error).__name__}; its log has the details, report them"
    )


def main() -> int:
    """Run the job of standard input; returns the exit code."""
    end_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C in a terminal is the platform's to handle
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    writer = ReportWriter(int(os.environ[REPORT_FD]))
    job = ChildJob.model_validate_json(sys.stdin.read())
    settings = get_settings()
    work = settings.cache_dir / "work"
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work, prefix=f"{job.job_id}-") as folder:
        try:
            writer.send(run(job, Path(folder), WorkerRun(job, settings, writer, stop)))
        except Stopped:
            return STOPPED
        except Exception as error:  # noqa: BLE001 - whatever a job raises is reported, never lost
            if not isinstance(error, BadInput):
                writer.send(LogReport(level="error", message=traceback.format_exc()))
            writer.send(_error(error))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
