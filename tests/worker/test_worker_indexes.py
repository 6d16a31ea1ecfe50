"""Embeddings, predictions and an index of a whole dataset, by real jobs in processes of their own."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from medcoss.specs.inference import IndexOptions
from medcoss.specs.records import DatasetInfo, ModelInfo
from services.core import indexes
from services.core.registry import register_dataset, register_model
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, JobArtifact, Leftover, SearchIndex
from services.worker.supervisor import Supervisor
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import xrays
from tests.worker.work import logs, row, submitted

DATASET, ENCODER, HEAD = "ds_films0000", "mdl_encoder0", "mdl_head0000"
STUDIES = 20


@pytest.fixture(scope="module")
def worker(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """A worker, with a dataset and two models as jobs have left them."""
    made, folder, store = Supervisor(world, threading.Event()), tmp_path_factory.mktemp("made"), ObjectStore(world)
    info = DatasetInfo.model_validate_json((xrays(folder / "films", size=(64, 64)) / "meta.json").read_text())
    files = store.upload_dir(f"datasets/{DATASET}/shards", folder / "films")
    with made.database.session() as session:
        register_dataset(session, DATASET, name="films", info=info, prefix=f"datasets/{DATASET}/shards", files=files,
                         parents=[], job_id="job_x", project_id=DEFAULT_PROJECT)  # fmt: skip
    for model, task, classes in ((ENCODER, "encoder", None), (HEAD, "classification", ["rows", "columns"])):
        about = ModelInfo.model_validate_json(
            (write_model(folder / model, task, ["xray"], classes) / "config.json").read_text()
        )
        files = store.upload_dir(f"models/{model}", folder / model)
        with made.database.session() as session:
            register_model(session, model, name=task, info=about, prefix=f"models/{model}", files=files, parents=[],
                           dataset_id=None, job_id="job_x", project_id=DEFAULT_PROJECT)  # fmt: skip
    yield made
    made.database.engine.dispose()


def finished(worker: Supervisor, job_id: str) -> dict[str, Any]:
    """The result of a job that has to succeed."""
    worker.run_next()
    job = row(worker.database, job_id)
    assert job.state == "succeeded", f"{job.error}\n" + "\n".join(logs(worker.database, job_id))
    assert job.result is not None
    return job.result


@pytest.mark.parametrize(("kind", "model", "expected"), [("embed", ENCODER, "embeddings.npy"),
                                                         ("predict", HEAD, "predictions.parquet")])  # fmt: skip
def test_what_is_made_of_a_dataset_is_kept_with_the_job(
    worker: Supervisor, kind: str, model: str, expected: str
) -> None:
    job_id = submitted(worker.database, kind, {"model": model, "dataset": DATASET})
    assert STUDIES in finished(worker, job_id)["metrics"].values()
    with worker.database.reading() as session:
        kept = {a.name: a.key for a in session.scalars(select(JobArtifact).where(JobArtifact.job_id == job_id))}
    assert expected in kept and ObjectStore(worker.settings).size(kept[expected])


def test_an_index_answers_from_the_end_of_its_build(worker: Supervisor) -> None:
    database, store = worker.database, ObjectStore(worker.settings)
    with database.session() as session:
        index, job = indexes.create(session, DEFAULT_PROJECT, "small", ENCODER, [DATASET], IndexOptions(projection=0),
                                    "", "test", attempts=1, quota=None)  # fmt: skip
    finished(worker, job.id)
    below = f"indexes/{index.id}/"
    stored = {key.removeprefix(below): size for key, size in store.sizes(below).items()}
    with database.reading() as session:
        made = session.get_one(SearchIndex, index.id)
        assert stored == {file.path: file.size for file in made.files}
        assert not session.scalars(select(Leftover.prefix).where(Leftover.prefix.startswith("indexes/"))).all()
    assert (made.version, made.model_id) == (1, ENCODER) and (made.info or {})["vectors"] == STUDIES
    assert {path.rpartition("/")[2] for path in stored} == {"vectors.faiss", "studies.parquet", "index.json"}
