"""`finetune`: a classifier or a segmenter on an encoder, or the sum of several of them."""

from pathlib import Path

from medcoss.specs import FinetuneSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.one_training import trained
from services.worker.runners.several import added_up


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport | None:
    """Train and store the model; where child jobs have done so, add up what they have reached."""
    spec = FinetuneSpec.model_validate(job.spec)
    return added_up(job, spec, work, context) if spec.repeated else trained(job, spec, work, context)
