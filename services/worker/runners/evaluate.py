"""`evaluate`: scores of a fine-tuned model."""

from pathlib import Path

from medcoss.evaluation.evaluate import evaluate
from medcoss.specs import EvaluateSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_evaluation
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Score the model and store the evaluation; the cases are in its file `evaluation.json`."""
    spec = EvaluateSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.model) as model, context.input(spec.dataset) as dataset:
        scores = evaluate(spec, model, dataset, work / "evaluation", context)
    # what goes to the database and to the job has no row for each case: those are in the file
    summary = scores.model_copy(update={"cases": []})
    output = store_evaluation(work / "evaluation", summary, spec.model, spec.dataset, spec.split, context)
    told = summary.model_dump(mode="json", exclude={"cases"})
    return ResultReport(outputs=[output], metrics=scores.metrics, evaluation=told)
