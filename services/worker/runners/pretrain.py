"""`pretrain`: one stage of continual pre-training."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.data.tokenizer import vocabulary_in
from medcoss.specs import PretrainSpec
from medcoss.training.pretrain import pretrain
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_model
from services.worker.runners.ranks import join_ranks
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport | None:
    """Train the stage and store the encoder."""
    # stored specs name every field; what is at its default was not asked for
    spec = PretrainSpec.model_validate(PretrainSpec.model_validate(job.spec).model_dump(exclude_defaults=True))
    limit_threads(context)
    ranks = join_ranks(context)
    with ExitStack() as inputs:
        dataset = inputs.enter_context(context.input(spec.dataset))
        model = inputs.enter_context(context.input(spec.init_model)) if spec.init_model else None
        buffers = [inputs.enter_context(context.input(buffer)) for buffer in spec.rehearsal]
        words = inputs.enter_context(context.input(spec.vocabulary)) if spec.vocabulary else None
        vocabulary = vocabulary_in(words) if words else None
        tables = [inputs.enter_context(context.table(name)) for name in spec.measured_on]
        along = [inputs.enter_context(context.input(name)) for name in spec.joint]
        info = pretrain(spec, dataset, model, buffers, work / "model", context, vocabulary, tables, along)
    if not ranks.main:
        return None
    name = spec.output_name or f"encoder-stage{info.stage}-{info.modality}"
    parents = [spec.init_model] if spec.init_model else []
    output = store_model(work / "model", info, name, parents, spec.dataset, context)
    return ResultReport(outputs=[output], metrics=info.metrics)
