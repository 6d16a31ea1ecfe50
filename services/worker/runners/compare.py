"""`compare`: a table of what child jobs have reached from several encoders."""

from pathlib import Path

from medcoss.specs import CompareSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.several import added_up


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Add up the trainings of all encoders."""
    return added_up(job, CompareSpec.model_validate(job.spec), work, context)
