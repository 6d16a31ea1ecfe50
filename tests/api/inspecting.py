"""Inspections of datasets, carried out without a worker."""

from pathlib import Path

from medcoss import inspect_dataset
from services.core import attempts
from services.core.attempts import Artifact
from tests.api.calls import take
from tests.api.serving import Served


def inspected(served: Served, dataset_id: str, folder: Path, out: Path, modality: str) -> None:
    """What an inspection of a folder finds, kept as a worker keeps it."""
    inspect_dataset(folder, out, quiet=True, modality=modality)
    answer = served.operator.post("/v1/jobs", json={"kind": "inspect_dataset", "spec": {"dataset": dataset_id}})
    job_id = answer.json()["id"]
    claim = take(served.database, job_id)
    kinds = {".json": "application/json", ".html": "text/html", ".png": "image/png", ".gz": "application/gzip"}
    kept = []
    for path in sorted((out / "artifacts").iterdir()):
        key = f"jobs/{job_id}/artifacts/{path.name}"
        served.store.put_file(key, path, kinds[path.suffix])
        kept.append(Artifact(path.name, key, kinds[path.suffix], path.stat().st_size))
    with served.database.session() as session:
        attempts.record_rows(session, job_id, claim.fence, artifacts=kept)
        attempts.succeed(session, job_id, claim.fence, {"metrics": {}})
