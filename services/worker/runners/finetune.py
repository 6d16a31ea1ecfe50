"""`finetune`: a classifier or a segmenter on an encoder."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.specs import FinetuneSpec
from medcoss.training.finetune import finetune
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_model
from services.worker.runners.ranks import join_ranks
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport | None:
    """Train and store the model."""
    # stored specs name every field; what is at its default was not asked for
    spec = FinetuneSpec.model_validate(FinetuneSpec.model_validate(job.spec).asked)
    limit_threads(context)
    ranks = join_ranks(context)
    with ExitStack() as inputs:
        dataset = inputs.enter_context(context.input(spec.dataset))
        model = inputs.enter_context(context.input(spec.init_model)) if spec.init_model else None
        tables = [inputs.enter_context(context.table(name)) for name in spec.measured_on]
        info = finetune(spec, dataset, model, work / "model", context, tables)
    if not ranks.main:
        return None
    name = spec.output_name or f"{info.modality}-{info.task}"
    parents = [spec.init_model] if spec.init_model else []
    output = store_model(work / "model", info, name, parents, spec.dataset, context)
    return ResultReport(outputs=[output], metrics=info.metrics)
