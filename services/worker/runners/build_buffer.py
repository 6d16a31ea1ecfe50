"""`build_buffer`: the rehearsal buffer of a dataset."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.specs import BuildBufferSpec
from medcoss.training.rehearsal import build_buffer
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_dataset
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Choose the buffer and store it as a dataset."""
    spec = BuildBufferSpec.model_validate(job.spec)
    limit_threads(context)
    with ExitStack() as inputs:
        model, dataset = (inputs.enter_context(context.input(name)) for name in (spec.model, spec.dataset))
        tables = [inputs.enter_context(context.table(name)) for name in spec.measured_on]
        info = build_buffer(spec, model, dataset, work / "buffer", context, tables)
    name = spec.output_name or f"{job.inputs[spec.dataset].name[:56]}-buffer"
    output = store_dataset(work / "buffer", info, name, [spec.dataset, spec.model], context)
    return ResultReport(outputs=[output], metrics={"samples": float(info.samples)})
