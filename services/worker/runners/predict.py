"""`predict`: what a fine-tuned model says of a dataset, as artifacts of the job."""

from pathlib import Path

from medcoss.evaluation.batch import predict
from medcoss.specs import PredictSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Predict and store; the result tells how many rows the table has."""
    spec = PredictSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.model) as model, context.input(spec.dataset) as dataset:
        rows = predict(spec, model, dataset, work / "predictions", context)
    return ResultReport(metrics={"rows": float(rows)})
