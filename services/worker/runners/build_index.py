"""`build_index`: a version of an index, for the gateway to search."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.evaluation.index import build_index
from medcoss.specs import BuildIndexSpec
from services.core.indexes import folder_of
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, IndexOutput, ResultReport
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Embed the datasets, build and store; the version answers from the end of this attempt on."""
    spec = BuildIndexSpec.model_validate(job.spec)
    limit_threads(context)
    with ExitStack() as inputs:
        model = inputs.enter_context(context.input(spec.model))
        datasets = {one: inputs.enter_context(context.input(one)) for one in spec.datasets}
        names = {one: job.inputs[one].name for one in spec.datasets}
        info = build_index(spec, model, datasets, names, work / "index", work / "features", context)
    prefix = f"{folder_of(spec.index)}/{job.output_id}"
    files = context.store.upload_dir(prefix, work / "index")
    output = IndexOutput(id=job.output_id, name=job.name, prefix=prefix, files=files, info=info, index_id=spec.index,
                         model_id=spec.model)  # fmt: skip
    return ResultReport(outputs=[output], metrics={"vectors": float(info.vectors), "width": float(info.width)})
