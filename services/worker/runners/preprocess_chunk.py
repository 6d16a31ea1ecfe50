"""`preprocess_chunk`: one share of a preprocess job's inputs, as parts that are kept with that job."""

from pathlib import Path

from medcoss.preprocess.run import preprocess_chunk
from medcoss.specs import PreprocessChunkSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Make the parts; the context stores each of them when it is finished."""
    spec = PreprocessChunkSpec.model_validate(job.spec)
    with context.outline(spec.dataset) as (raw, bring), context.scratch("unpacked") as unpacked:
        parts = preprocess_chunk(
            spec, raw, spec.chunk, spec.chunks, work / "parts", context, processes=context.settings.threads,
            unpacked=unpacked, bring=bring,
        )  # fmt: skip
    return ResultReport(metrics={"parts": float(len(parts))})
