"""`finetune_run`: one of the trainings of a finetune or compare job."""

from pathlib import Path

from medcoss.specs import FinetuneRunSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.one_training import trained


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport | None:
    """Train, score and store the model of one seed, fold and encoder."""
    return trained(job, FinetuneRunSpec.model_validate(job.spec), work, context)
