"""`import_model`: a published checkpoint becomes a model of the registry."""

from pathlib import Path

from medcoss.models.published import import_checkpoint
from medcoss.models.published_file import file_in
from medcoss.specs import ImportModelSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.outputs import store_model
from services.worker.runners.threads import limit_threads


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Read the checkpoint and store the encoder."""
    spec = ImportModelSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.dataset) as folder:
        vocabulary = file_in(folder, spec.vocabulary, "vocabulary") if spec.vocabulary else None
        info = import_checkpoint(
            file_in(folder, spec.file, "file"), work / "model", context, format=spec.format, vocabulary=vocabulary,
            modalities=spec.modalities, attention=spec.attention, positions=spec.positions, seed=spec.seed,
        )  # fmt: skip
    name = spec.output_name or f"{job.inputs[spec.dataset].name[:54]}-encoder"
    output = store_model(work / "model", info, name, [], spec.dataset, context)
    return ResultReport(outputs=[output], metrics=info.metrics)
