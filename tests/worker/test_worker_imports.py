"""`import_model` in a process of its own: what it registers, and how it refuses."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from services.core.settings import Settings
from services.core.tables import JobArtifact, Model
from services.worker.supervisor import Supervisor
from tests.medcoss.models.checkpoints import filled, medcoss_shapes, saved, vocabulary
from tests.worker.work import logs, raw_dataset, row, submitted


@pytest.fixture(scope="module")
def worker(world: Settings) -> Iterator[Supervisor]:
    made = Supervisor(world, threading.Event())
    yield made
    made.database.engine.dispose()


def test_a_checkpoint_becomes_a_model(worker: Supervisor, tmp_path: Path) -> None:
    files = {
        "runs/last.pth": saved(tmp_path / "a.pth", filled(medcoss_shapes())).read_bytes(),
        "vocab.txt": vocabulary(tmp_path / "v.txt").read_bytes(),
    }
    raw = raw_dataset(worker.settings, worker.database, files, "ds_checkpoint00")
    job_id = submitted(worker.database, "import_model", {"dataset": raw, "vocabulary": "vocab.txt"})
    worker.run_next()
    job = row(worker.database, job_id)
    assert job.state == "succeeded", f"{job.error}\n" + "\n".join(logs(worker.database, job_id))
    assert job.result is not None
    with worker.database.reading() as session:
        model = session.get_one(Model, job.result["outputs"]["model"])
        assert (model.name, model.dataset_id, model.parents) == ("raw-encoder", raw, [])
        assert {f.path for f in model.files} == {"config.json", "model.safetensors", "vocab.txt"}
        assert session.scalars(select(JobArtifact.name).where(JobArtifact.job_id == job_id)).all() == ["import.json"]
    assert (model.info["stage"], model.info["size"], model.info["modality"]) == (5, "custom", "pathology")
    assert job.result["metrics"]["tensors_taken"] == len(medcoss_shapes()) - 2
    assert "last.pth is a medcoss checkpoint, size custom: 2 blocks of 64, 1 heads, 20 word pieces" in logs(
        worker.database, job_id
    )


def test_a_checkpoint_that_does_not_fit_fails_at_once(worker: Supervisor, tmp_path: Path) -> None:
    tensors = filled(medcoss_shapes())
    del tensors["decoder_norm.bias"]
    files = {"a.pth": saved(tmp_path / "a.pth", tensors).read_bytes()}
    raw = raw_dataset(worker.settings, worker.database, files, "ds_incomplete00")
    job_id = submitted(worker.database, "import_model", {"dataset": raw})
    worker.run_next()
    job = row(worker.database, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert (job.error["reason"], job.error["where"]) == ("data", "a.pth")
    assert job.error["detail"] == "a.pth: 1 tensor does not fit: decoder_norm.bias: expected (32,), not found"
