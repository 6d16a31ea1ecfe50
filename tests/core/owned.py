"""Things that own objects, as the platform makes them, and a run of the garbage collector."""

import hashlib
from datetime import timedelta

from medcoss.specs.records import FileEntry
from services.core import attempts
from services.core.db import Database
from services.core.garbage import runs
from services.core.garbage.runs import Asked
from services.core.storage import ObjectStore
from services.core.tables import (
    DEFAULT_PROJECT,
    Dataset,
    DatasetFile,
    Evaluation,
    EvaluationFile,
    IndexFile,
    Model,
    ModelFile,
    SearchIndex,
)
from tests.core.steps import WRONG_INPUT, running

GRACE = timedelta(hours=1)


def entry(path: str, content: bytes = b"x") -> FileEntry:
    return FileEntry(path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def dataset(database: Database, store: ObjectStore | None, dataset_id: str, *paths: str, state: str = "ready") -> str:
    with database.session() as session:
        session.add(
            Dataset(
                id=dataset_id, name=f"name of {dataset_id}", role="raw", state=state, modality="xray",
                prefix=f"datasets/{dataset_id}/raw", info=None, project_id=DEFAULT_PROJECT, file_count=len(paths),
                files=[DatasetFile(**entry(path).model_dump()) for path in paths],
            )
        )  # fmt: skip
    for path in paths if store is not None else ():
        store.put_bytes(f"datasets/{dataset_id}/raw/{path}", b"x")  # type: ignore[union-attr]
    return dataset_id


def model(database: Database, store: ObjectStore, model_id: str) -> str:
    with database.session() as session:
        session.add(
            Model(
                id=model_id, name="m", task="encoder", modality="xray", prefix=f"models/{model_id}", info={},
                project_id=DEFAULT_PROJECT, files=[ModelFile(**entry("model.safetensors").model_dump())],
            )
        )  # fmt: skip
    store.put_bytes(f"models/{model_id}/model.safetensors", b"x")
    return model_id


def evaluation(database: Database, store: ObjectStore, evaluation_id: str, *paths: str) -> str:
    with database.session() as session:
        session.add(
            Evaluation(
                id=evaluation_id, name="e", model_id="mdl_1", model_name="m", dataset_id="ds_1", dataset_name="d",
                split="test", task="classification", headline="f1", score=0.5, info={}, project_id=DEFAULT_PROJECT,
                files=[EvaluationFile(**entry(path).model_dump()) for path in paths],
            )
        )  # fmt: skip
    for path in paths:
        store.put_bytes(f"evaluations/{evaluation_id}/{path}", b"x")
    return evaluation_id


def index(database: Database, store: ObjectStore, index_id: str, *paths: str) -> str:
    with database.session() as session:
        session.add(
            SearchIndex(
                id=index_id, name=index_id.replace("_", "-"), encoder="mdl_1", datasets=["ds_1"],
                options={"level": "study"}, version=1, model_id="mdl_1", wanted_id="mdl_1", created_by="ada",
                project_id=DEFAULT_PROJECT, files=[IndexFile(**entry(path).model_dump()) for path in paths],
            )
        )  # fmt: skip
    for path in paths:
        store.put_bytes(f"indexes/{index_id}/{path}", b"x")
    return index_id


def failed_job(database: Database) -> str:
    claim = running(database)
    with database.session() as session:
        attempts.fail(session, claim.job_id, claim.fence, WRONG_INPUT)
    return claim.job_id


def started(database: Database, *, dry_run: bool = True, keep: int | None = None, fraction: float = 1.0,
            grace: timedelta = GRACE) -> str:  # fmt: skip
    with database.session() as session:
        return runs.start(session, Asked(dry_run, grace.total_seconds(), keep, fraction), "ada").id
