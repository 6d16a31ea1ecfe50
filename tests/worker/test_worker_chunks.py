"""Preprocessing jobs that are shared out among child jobs make the dataset of one job, or none."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from medcoss.preprocess.engine.parts import Part
from services.core import leftovers
from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.sweep import sweep
from services.core.tables import Dataset, DatasetFile, Job
from services.core.tables.base import now
from services.worker.parts import S3Parts
from services.worker.supervisor import Supervisor
from tests.worker.test_worker_parts import ROWS, SPEC, table
from tests.worker.work import FOLDER, child_of, class_folders, raw_dataset, row, submitted, until, working


@pytest.fixture(scope="module")
def worker(world: Settings) -> Iterator[Supervisor]:
    made = Supervisor(world, threading.Event())
    yield made
    made.database.engine.dispose()


@pytest.fixture
def store(worker: Supervisor) -> ObjectStore:
    return ObjectStore(worker.settings)


def children(database: Database, job_id: str) -> list[Job]:
    """The child jobs, in the order of their chunks."""
    with database.reading() as session:
        found = session.scalars(select(Job).where(Job.parent_id == job_id)).all()
    return sorted(found, key=lambda child: int(child.spec["chunk"]))


def kill_next(worker: Supervisor, job_id: str) -> None:
    """Run the next attempt, which has to be this job's, and kill it when it has made something."""
    with working(worker):
        until(lambda: (row(worker.database, job_id).done or 0) > 0, what="the first reports")
        process = child_of(job_id)
        assert process is not None
        process.kill()


def run_all(worker: Supervisor) -> None:
    """Run what is queued, and what waits for it."""
    while True:
        with worker.database.session() as session:
            sweep(session, now())
        if worker.run_next() is None:
            return


def made(database: Database, job_id: str) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """Hashes of the files of the one dataset that a job has made, its description, and what it was made from."""
    job = row(database, job_id)
    assert job.state == "succeeded", job.error
    with database.reading() as session:
        dataset = session.scalars(select(Dataset).where(Dataset.job_id == job_id)).one()
        files = session.scalars(select(DatasetFile).where(DatasetFile.dataset_id == dataset.id))
        assert dataset.info is not None
        return {file.path: file.sha256 for file in files}, dataset.info, dataset.parents


def test_chunks_make_the_dataset_of_one_job_and_a_killed_one_is_made_again_alone(
    worker: Supervisor, store: ObjectStore
) -> None:
    database = worker.database
    raw_dataset(worker.settings, database, {"reports.csv": table()})
    whole = submitted(database, spec=SPEC)
    worker.run_next()
    job_id = submitted(database, spec=SPEC | {"chunks": 3})
    mine = children(database, job_id)
    assert [child.state for child in mine] == ["queued"] * 3
    assert row(database, job_id).state == "waiting"
    kill_next(worker, mine[0].id)
    for _ in mine:
        worker.run_next()
    assert [(child.state, child.attempt) for child in children(database, job_id)] == [
        ("succeeded", 2), ("succeeded", 1), ("succeeded", 1),
    ]  # fmt: skip
    parts = S3Parts(store, job_id, lambda step: None)
    kept = set(parts.names())
    ends = {part.end for name in kept if (part := Part.named(name))}
    assert {ROWS // 3, 2 * ROWS // 3, ROWS} <= ends
    with database.session() as session:
        sweep(session, now())
    assert worker.run_next() == job_id
    assert made(database, job_id) == made(database, whole)
    assert set(parts.names()) == kept, "nothing was made again"
    leftovers.clean(database, store, lambda _: None, 30)
    for each in (job_id, *(child.id for child in mine)):
        assert [key for key in store.list_keys(f"jobs/{each}/") if not key.endswith("report.json")] == []


def test_a_chunk_that_fails_fails_the_job_with_its_reason_and_leaves_nothing(
    worker: Supervisor, store: ObjectStore
) -> None:
    database = worker.database
    raw_dataset(worker.settings, database, {"reports.csv": table()}, "ds_reports00000")
    before = store.list_keys("datasets/")
    spec = SPEC | {"dataset": "ds_reports00000", "chunks": 3}
    job_id = submitted(database, spec=spec, max_attempts=1)
    first, second, third = children(database, job_id)
    assert worker.run_next() == first.id
    assert S3Parts(store, job_id, lambda step: None).names() != []
    kill_next(worker, second.id)
    run_all(worker)
    job = row(database, job_id)
    assert job.error is not None
    assert (job.state, job.attempt, job.error["reason"]) == ("failed", 0, "killed")
    assert job.error["detail"].startswith(f"chunk 2 of 3 ({second.id}) has failed: the process was ended by SIGKILL")
    assert row(database, third.id).state == "cancelled", "nobody wants it any more"
    leftovers.clean(database, store, lambda _: None, 30)
    for each in (job_id, first.id, second.id, third.id):
        assert store.list_keys(f"jobs/{each}/") == []
    assert store.list_keys("datasets/") == before
    with database.reading() as session:
        assert session.scalars(select(Dataset.id).where(Dataset.job_id == job_id)).all() == []


def test_a_chunk_fetches_the_files_of_its_own_part_alone(worker: Supervisor) -> None:
    database = worker.database
    files = class_folders(12)
    damaged = sorted(files)[-1]
    raw_dataset(worker.settings, database, files, "ds_own0000000", recorded={damaged: files[damaged][:-1] + b"?"})
    job_id = submitted(database, spec={"dataset": "ds_own0000000", "recipe": FOLDER, "chunks": 3}, max_attempts=1)
    run_all(worker)
    assert [child.state for child in children(database, job_id)] == ["succeeded", "succeeded", "failed"]
    error = row(database, job_id).error
    assert error is not None
    assert damaged in error["detail"]


def test_what_may_be_bad_is_counted_over_all_chunks(worker: Supervisor) -> None:
    database = worker.database
    files = class_folders(8) | {f"aaa/{n}.png": b"this is no picture\n" for n in range(4)}
    raw_dataset(worker.settings, database, files, "ds_bad0000000")
    asked = {"dataset": "ds_bad0000000", "recipe": FOLDER, "max_bad_fraction": 0.34}
    shared, strict = (
        submitted(database, spec=asked | {"chunks": 3} | more) for more in ({}, {"max_bad_fraction": 0.3})
    )
    run_all(worker)
    assert not list((worker.settings.cache_dir / "records").glob("ds_bad*")), "nobody has needed it whole"
    whole = submitted(database, spec=asked)
    run_all(worker)
    assert made(database, shared) == made(database, whole)
    assert {child.state for child in children(database, strict)} == {"succeeded"}, "the first chunk is all bad"
    job = row(database, strict)
    assert job.error is not None
    assert (job.state, job.error["reason"]) == ("failed", "data")
    assert "4 of 12 inputs cannot be used" in job.error["detail"]
