"""`preprocess`: raw files to training shards."""

from pathlib import Path

from medcoss.preprocess.run import preprocess
from medcoss.specs import PreprocessSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_dataset


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Preprocess and store the dataset."""
    spec = PreprocessSpec.model_validate(job.spec)
    with context.input(spec.dataset) as raw, context.scratch("unpacked") as unpacked:
        info = preprocess(
            spec, raw, work / "dataset", context, salt=job.patient_salt.encode(), processes=context.settings.threads,
            unpacked=unpacked,
        )  # fmt: skip
    name = spec.output_name or job.inputs[spec.dataset].name
    output = store_dataset(work / "dataset", info, name, [spec.dataset], context)
    metrics = {"samples": float(info.samples), "bad_files": float(len(info.bad_files))}
    return ResultReport(outputs=[output], metrics=metrics)
