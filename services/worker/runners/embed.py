"""`embed`: the vectors of a dataset, as artifacts of the job."""

from pathlib import Path

from medcoss.evaluation.embed import embed_dataset, write_embeddings
from medcoss.specs import EmbedSpec
from services.worker.context import WorkerRun
from services.worker.protocol import ChildJob, ResultReport
from services.worker.runners.threads import limit_threads

_TYPES = {".parquet": "application/vnd.apache.parquet", ".npy": "application/octet-stream"}


def run(job: ChildJob, work: Path, context: WorkerRun) -> ResultReport:
    """Embed and store; the result tells how many vectors there are, and how wide they are."""
    spec = EmbedSpec.model_validate(job.spec)
    limit_threads(context)
    with context.input(spec.model) as model, context.input(spec.dataset) as dataset:
        found = embed_dataset(
            model, dataset, spec.dataset, work / "features", context, split=spec.split, level=spec.level,
            batch_size=spec.batch_size,
        )  # fmt: skip
    for path in write_embeddings(found, work / "embeddings"):
        context.artifact(path, path.name, _TYPES[path.suffix])
    count, width = found.vectors.shape
    return ResultReport(metrics={"vectors": float(count), "width": float(width)})
