"""Real jobs in real processes: what they make, how they fail, how they go on."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.core import leftovers
from services.core.db import Database
from services.core.jobs import request_cancel
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.sweep import sweep
from services.core.tables import Dataset, DatasetFile, Job, JobArtifact, Leftover, Model, ModelFile
from services.core.tables.base import now
from services.worker.supervisor import Supervisor
from tests.worker.work import (
    FOLDER,
    child_of,
    class_folders,
    events,
    logs,
    metrics,
    png,
    raw_dataset,
    row,
    submitted,
    until,
    working,
)

PICTURES = 24
STEPS = 60


@pytest.fixture(scope="module")
def worker(world: Settings) -> Iterator[Supervisor]:
    made = Supervisor(world, threading.Event())
    yield made
    made.database.engine.dispose()


def finished(worker: Supervisor, job_id: str) -> Job:
    """Run the queue until this job is over; it must succeed."""
    while row(worker.database, job_id).state == "queued":
        worker.run_next()
    job = row(worker.database, job_id)
    assert job.state == "succeeded", f"{job.error}\n" + "\n".join(logs(worker.database, job_id))
    return job


def stored(settings: Settings, table: type[Any], record_id: str, folder: Path) -> Path:
    """The files of a record, each verified against what is registered."""
    database = Database(settings.database_url)
    with database.reading() as session:
        record = session.get_one(table, record_id)
        from services.core.registry import entries

        ObjectStore(settings).download(record.prefix, entries(record.files), folder)
    database.engine.dispose()
    return folder


@pytest.fixture(scope="module")
def dataset(worker: Supervisor) -> str:
    """A prepared dataset, made by a real job."""
    raw_dataset(worker.settings, worker.database, class_folders(PICTURES))
    spec = {"dataset": "ds_raw0000000", "recipe": FOLDER, "output_name": "small"}
    job = finished(worker, submitted(worker.database, spec=spec))
    assert job.result is not None
    return str(job.result["outputs"]["dataset"])


def test_preprocessing_makes_a_dataset(worker: Supervisor, dataset: str, tmp_path: Path) -> None:
    with worker.database.reading() as session:
        record = session.get_one(Dataset, dataset)
        job_id = str(record.job_id)
        assert (record.name, record.state, record.parents) == ("small", "ready", ["ds_raw0000000"])
        assert session.scalars(select(JobArtifact.name).where(JobArtifact.job_id == job_id)).all() == ["report.json"]
        assert dataset not in " ".join(session.scalars(select(Leftover.prefix)))
    assert record.info is not None
    assert (record.info["samples"], record.info["classes"]) == (PICTURES, ["bright", "dark"])
    names = {p.name for p in stored(worker.settings, Dataset, dataset, tmp_path / "fetched").iterdir()}
    assert {"meta.json", "samples.parquet", "images.b2nd"} <= names
    job = row(worker.database, job_id)
    assert (job.done, job.total, job.attempt) == (PICTURES, PICTURES, 1)
    assert events(worker.database, job_id) == ["queued", "running", "succeeded"]
    assert list((worker.settings.cache_dir / "work").iterdir()) == [], "nothing is left in the working folder"


def test_bad_input_is_named_and_not_tried_again(worker: Supervisor) -> None:
    files = {"good.png": png(0), "notes.png": b"this is no picture\n"}
    raw = raw_dataset(worker.settings, worker.database, files, "ds_bad0000000")
    job_id = submitted(worker.database, spec={"dataset": raw, "recipe": {"name": "image_folder"}})
    worker.run_next()
    job = row(worker.database, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert (job.error["reason"], job.error["where"]) == ("data", "notes.png")
    assert "notes.png" in job.error["detail"] and "text" in job.error["detail"]
    with worker.database.reading() as session:
        assert session.scalars(select(Dataset.id).where(Dataset.job_id == job_id)).all() == []
    assert not [line for line in logs(worker.database, job_id) if "Traceback" in line]


def test_a_file_that_is_not_what_was_announced_is_named(worker: Supervisor) -> None:
    raw = raw_dataset(
        worker.settings, worker.database, {"a.png": png(0), "b.png": png(1)}, "ds_changed00000",
        recorded={"b.png": png(3)},
    )  # fmt: skip
    job_id = submitted(worker.database, spec={"dataset": raw, "recipe": {"name": "image_folder"}}, max_attempts=1)
    worker.run_next()
    job = row(worker.database, job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["reason"] == "storage"
    assert job.error["detail"].startswith("b.png: the stored file")


def test_what_a_killed_attempt_has_stored_is_removed(worker: Supervisor) -> None:
    """The objects of an attempt that stored them and then died before it could report."""
    store = ObjectStore(worker.settings)
    with worker.database.session() as session:
        leftovers.reserve(session, "datasets/ds_orphan/", "job_dead", 1)
    store.put_bytes("datasets/ds_orphan/shards/images.b2nd", b"x")
    with worker.database.session() as session:
        sweep(session, now() - leftovers.LINGER)
    leftovers.clean(worker.database, store, lambda _: None, 30)
    assert store.list_keys("datasets/ds_orphan/") == []


def pretraining(dataset: str, steps: int = STEPS, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": dataset, "size": "tiny", "epochs": 1000, "max_steps": steps, "batch_size": 4, "base_lr": 1e-2,
        "warmup_epochs": 1, "checkpoint_every": 20, "log_every": 1, "reconstructions": 0,
    } | changes  # fmt: skip


def checkpoints(settings: Settings, job_id: str) -> list[str]:
    """`<step>.<fence>` of every whole checkpoint, sorted."""
    keys = ObjectStore(settings).list_keys(f"jobs/{job_id}/checkpoints/")
    return sorted(key.split("/")[3] for key in keys if key.endswith("manifest.json"))


def interrupted(settings: Settings, job_id: str) -> None:
    """A job whose worker is shut down, then whose process is killed, and which then ends."""
    stopping = threading.Event()
    worker = Supervisor(settings, stopping)
    database = worker.database
    with working(worker):
        until(lambda: (row(database, job_id).done or 0) >= 3, what="the first steps")
        stopping.set()
    job = row(database, job_id)
    assert (job.state, job.attempt, job.fence, job.error) == ("queued", 0, 1, None), "a shutdown does not count"
    (kept,) = checkpoints(settings, job_id)
    assert kept.endswith(".000001")
    stopping.clear()
    with working(worker):
        until(lambda: any(c.endswith(".000002") for c in checkpoints(settings, job_id)), what="a checkpoint")
        child = child_of(job_id)
        assert child is not None
        child.kill()
    job = row(database, job_id)
    assert (job.state, job.attempt) == ("queued", 1)
    assert job.error is not None and job.error["reason"] == "killed" and "SIGKILL" in job.error["detail"]
    worker.run_next()
    worker.database.engine.dispose()


def weights(database: Database, job_id: str) -> tuple[str, str]:
    """The model that a job has made and the hash of its weights."""
    with database.reading() as session:
        model = session.scalars(select(Model).where(Model.job_id == job_id)).one()
        query = select(ModelFile.sha256).where(ModelFile.model_id == model.id, ModelFile.path == "model.safetensors")
        return model.id, session.scalars(query).one()


@pytest.fixture(scope="module")
def trainings(worker: Supervisor, dataset: str) -> tuple[str, str]:
    """The same training twice, side by side: left alone, and interrupted twice."""
    database = worker.database
    alone = submitted(database, "pretrain", pretraining(dataset), priority=1)
    with working(worker):
        until(lambda: row(database, alone).state == "running")
        other = submitted(database, "pretrain", pretraining(dataset))
        interrupted(worker.settings, other)
    return alone, other


def test_a_killed_training_goes_on_from_its_checkpoint(worker: Supervisor, trainings: tuple[str, str]) -> None:
    alone, other = trainings
    job = row(worker.database, other)
    assert (job.state, job.attempt, job.fence) == ("succeeded", 2, 3)
    assert row(worker.database, alone).attempt == 1
    steps: dict[int, list[int]] = {1: [], 2: []}
    for attempt, step in metrics(worker.database, other):
        steps[attempt].append(step)
    assert steps[2][0] > 20, "the second attempt began anew"
    assert steps[2][-1] == STEPS
    assert sum("resumed from the checkpoint" in line for line in logs(worker.database, other)) == 2


def test_it_ends_with_the_same_bits(worker: Supervisor, trainings: tuple[str, str]) -> None:
    (_, one), (_, two) = (weights(worker.database, job_id) for job_id in trainings)
    assert one == two


def test_checkpoints_of_a_training_that_is_over_are_removed(worker: Supervisor, trainings: tuple[str, str]) -> None:
    leftovers.clean(worker.database, ObjectStore(worker.settings), lambda _: None, 30)
    for job_id in trainings:
        assert ObjectStore(worker.settings).list_keys(f"jobs/{job_id}/checkpoints/") == []


def test_cancelling_a_training(worker: Supervisor, dataset: str) -> None:
    import time

    database = worker.database
    job_id = submitted(database, "pretrain", pretraining(dataset, 100_000, checkpoint_every=100_000))
    with working(worker):
        until(lambda: (row(database, job_id).done or 0) >= 3, what="the first steps")
        with database.session() as session:
            request_cancel(session, job_id)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    job = row(database, job_id)
    assert (job.state, job.error) == ("cancelled", None)
    assert len(checkpoints(worker.settings, job_id)) == 1, "written when it was told to stop"
    with database.reading() as session:
        assert session.scalars(select(Model.id).where(Model.job_id == job_id)).all() == []


def test_buffers_heads_and_scores(worker: Supervisor, dataset: str, trainings: tuple[str, str]) -> None:
    """The other kinds, two at a time: a buffer and a classifier from the encoder, then the next stage and scores."""
    database = worker.database
    encoder = weights(database, trainings[0])[0]
    other = Supervisor(worker.settings, threading.Event())

    def both(*wanted: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        ids = [submitted(database, kind, spec) for kind, spec in wanted]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: each.run_next(), (worker, other)))
        results = [row(database, job_id).result for job_id in ids]
        assert all(results), [(row(database, job_id).error, logs(database, job_id)) for job_id in ids]
        return [result or {} for result in results]

    buffer, head = both(
        ("build_buffer", {"model": encoder, "dataset": dataset, "centers_fraction": 0.2, "buffer_fraction": 0.5}),
        (
            "finetune",
            {"task": "classification", "dataset": dataset, "init_model": encoder, "max_steps": 6, "batch_size": 8},
        ),
    )
    assert buffer["metrics"]["samples"] >= 4
    stage, scores = both(
        (
            "pretrain",
            pretraining(dataset, 4, init_model=encoder, rehearsal=[buffer["outputs"]["dataset"]]),
        ),
        ("evaluate", {"model": head["outputs"]["model"], "dataset": dataset, "split": "train"}),
    )
    other.database.engine.dispose()
    with database.reading() as session:
        made = session.get_one(Model, stage["outputs"]["model"])
        assert (made.parents, made.info["stage"], made.dataset_id) == ([encoder], 2, dataset)
        kept = session.get_one(Dataset, buffer["outputs"]["dataset"])
        assert (kept.role, set(kept.parents)) == ("buffer", {dataset, encoder})
        assert session.scalars(select(DatasetFile.path).where(DatasetFile.dataset_id == kept.id)).all()
    assert scores["outputs"] == {}
    assert 0 <= scores["evaluation"]["metrics"]["accuracy"] <= 1
    assert len(scores["evaluation"]["confusion"]) == 2
