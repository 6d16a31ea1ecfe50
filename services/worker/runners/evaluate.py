"""`evaluate`: scores of a fine-tuned model."""

from pathlib import Path

from medcoss.evaluation.evaluate import evaluate
from medcoss.specs import EvaluateSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Score the model; the cases are in the artifact `evaluation.json`."""
    spec = EvaluateSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.model) as model, context.input(spec.dataset) as dataset:
        scores = evaluate(spec, model, dataset, work / "evaluation", context)
    summary = scores.model_dump(mode="json", exclude={"cases"})
    return ResultReport(metrics=scores.metrics, evaluation=summary)
