"""`preprocess`: raw files to training shards."""

from contextlib import ExitStack
from pathlib import Path

from medcoss.preprocess.run import preprocess
from medcoss.specs import PreprocessSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_dataset


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Preprocess and store the dataset."""
    spec = PreprocessSpec.model_validate(job.spec)
    with ExitStack() as stack:
        if (spec.chunks or 1) > 1:
            # what the chunks have made needs no files here
            raw, bring = stack.enter_context(context.outline(spec.dataset))
        else:
            raw, bring = stack.enter_context(context.input(spec.dataset)), None
        info = preprocess(
            spec, raw, work / "dataset", context, salt=job.patient_salt.encode(), processes=context.settings.threads,
            unpacked=stack.enter_context(context.scratch("unpacked")), bring=bring,
        )  # fmt: skip
    name = spec.output_name or job.inputs[spec.dataset].name
    output = store_dataset(work / "dataset", info, name, [spec.dataset], context)
    metrics = {"samples": float(info.samples), "bad_files": float(len(info.bad_files))}
    return ResultReport(outputs=[output], metrics=metrics)
