"""One runner a job kind: fetch the inputs, call the library, store the outputs."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport

Runner = Callable[[ChildJob, Path, WorkerRun], ResultReport | None]


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport | None:
    """Run a job by its kind; only the runner that is needed is imported. None from a process that has helped another
    to a result.
    """
    runner: Runner = import_module(f"services.worker.runners.{job.kind}").run
    return runner(job, work, context)
