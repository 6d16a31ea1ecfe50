"""`inspect_dataset`: a report with pictures, as artifacts of the job."""

from pathlib import Path

from medcoss.preprocess.inspection.run import inspect
from medcoss.specs import InspectDatasetSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Inspect; the result tells the numbers of samples, of files that cannot be read, and of warnings by code."""
    spec = InspectDatasetSpec.model_validate(job.spec)
    known = spec.modality or job.inputs[spec.dataset].modality
    spec = spec.model_copy(update={"modality": known})
    with context.input(spec.dataset) as dataset:
        report = inspect(
            spec, dataset, work / "inspection", context, salt=job.patient_salt.encode(),
            processes=context.settings.threads,
        )  # fmt: skip
    metrics = {"samples": float(report.samples), "bad_files": float(len(report.unreadable)),
               "warnings": float(len(report.warnings))}  # fmt: skip
    metrics |= {f"warning/{one.code}": float(one.count) for one in report.warnings}
    return ResultReport(metrics=metrics)
