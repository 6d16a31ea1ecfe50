"""`forgetting`: what the stages of a line of models have left of each modality."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.evaluation.forgetting import measure_forgetting
from medcoss.specs import ForgettingSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_evaluation
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Measure the line and store the evaluation, which is that of its newest model."""
    spec = ForgettingSpec.model_validate(job.spec)
    limit_threads(context)
    with ExitStack() as inputs:
        models = [inputs.enter_context(context.input(name)) for name in spec.models]
        datasets = [inputs.enter_context(context.input(name)) for name in spec.datasets]
        found = measure_forgetting(spec, models, datasets, work / "evaluation", context)
    output = store_evaluation(work / "evaluation", found, spec.models[-1], spec.datasets[0], spec.split, context)
    told = found.model_dump(mode="json", exclude={"cases"})
    return ResultReport(outputs=[output], metrics=found.metrics, evaluation=told)
