"""Real jobs in real processes: what they make, how they fail, how they go on."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from services.core import leftovers
from services.core.db import Database
from services.core.jobs import request_cancel
from services.core.registry import entries
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.sweep import sweep
from services.core.tables import (
    Dataset,
    DatasetFile,
    Evaluation,
    Job,
    JobArtifact,
    Leftover,
    Model,
    ModelFile,
)
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
STEPS = 120


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
        prefix, files = record.prefix, entries(record.files)
    database.engine.dispose()
    ObjectStore(settings).download(prefix, files, folder)
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
    stored = ObjectStore(worker.settings).list_keys("datasets/")
    job_id = submitted(worker.database, spec={"dataset": raw, "recipe": {"name": "image_folder"}})
    worker.run_next()
    job = row(worker.database, job_id)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None
    assert (job.error["reason"], job.error["where"]) == ("data", "notes.png")
    assert "notes.png" in job.error["detail"] and "text" in job.error["detail"]
    with worker.database.reading() as session:
        assert session.scalars(select(Dataset.id).where(Dataset.job_id == job_id)).all() == []
    assert ObjectStore(worker.settings).list_keys("datasets/") == stored, "no objects of a dataset are left"
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
    # a fast machine comes past checkpoint_every before the order does
    kept = checkpoints(settings, job_id)
    assert kept and all(name.endswith(".000001") for name in kept)
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


def cancelled(worker: Supervisor, job_id: str) -> float:
    """Cancel a training that runs; the seconds that it took to end."""
    database = worker.database
    with working(worker):
        until(lambda: (row(database, job_id).done or 0) >= 3, what="the first steps")
        with database.session() as session:
            request_cancel(session, EVERYTHING, job_id)
        began = time.monotonic()
    return time.monotonic() - began


@dataclass(frozen=True)
class Trainings:
    """The same training twice: left alone, and interrupted twice; and one that was cancelled."""

    alone: str
    interrupted: str
    interrupted_in: Database
    cancelled: str
    cancelled_in_s: float
    buffer: str


@pytest.fixture(scope="module")
def trainings(worker: Supervisor, dataset: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainings]:
    """Side by side, each in a queue of its own: a worker takes whatever is queued."""
    path = tmp_path_factory.mktemp("second") / "medcoss.db"
    first = worker.database.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(first)) as source, closing(sqlite3.connect(path)) as target:
        source.backup(target)
    second = worker.settings.model_copy(update={"database_url": f"sqlite:///{path}"})
    other_database, database = Database(second.database_url), worker.database
    other = submitted(other_database, "pretrain", pretraining(dataset))
    alone = submitted(database, "pretrain", pretraining(dataset))
    with ThreadPoolExecutor(1) as pool:
        aside = pool.submit(interrupted, second, other)
        finished(worker, alone)
        stopped = submitted(database, "pretrain", pretraining(dataset, 100_000, checkpoint_every=100_000))
        seconds = cancelled(worker, stopped)
        spec = {"model": weights(database, alone)[0], "dataset": dataset, "centers_fraction": 0.2,
                "buffer_fraction": 0.5}  # fmt: skip
        buffer = finished(worker, submitted(database, "build_buffer", spec)).result
        aside.result()
    assert buffer is not None
    yield Trainings(alone, other, other_database, stopped, seconds, str(buffer["outputs"]["dataset"]))
    other_database.engine.dispose()


def test_a_killed_training_goes_on_from_its_checkpoint(worker: Supervisor, trainings: Trainings) -> None:
    database = trainings.interrupted_in
    job = row(database, trainings.interrupted)
    assert (job.state, job.attempt, job.fence) == ("succeeded", 2, 3)
    assert row(worker.database, trainings.alone).attempt == 1
    steps: dict[int, list[int]] = {1: [], 2: []}
    for attempt, step in metrics(database, trainings.interrupted):
        steps[attempt].append(step)
    assert steps[2][0] > 20, "the second attempt began anew"
    assert steps[2][-1] == STEPS
    assert sum("resumed from the checkpoint" in line for line in logs(database, trainings.interrupted)) == 2


def test_it_ends_with_the_same_bits(worker: Supervisor, trainings: Trainings) -> None:
    left_alone = weights(worker.database, trainings.alone)[1]
    assert weights(trainings.interrupted_in, trainings.interrupted)[1] == left_alone


def test_checkpoints_of_a_training_that_is_over_are_removed(worker: Supervisor, trainings: Trainings) -> None:
    store = ObjectStore(worker.settings)
    assert len(checkpoints(worker.settings, trainings.alone)) == 2
    leftovers.clean(worker.database, store, lambda _: None, 30)
    assert store.list_keys(f"jobs/{trainings.alone}/checkpoints/") == []
    assert checkpoints(worker.settings, trainings.cancelled), "of one that may be looked at"


def test_cancelling_a_training(worker: Supervisor, trainings: Trainings) -> None:
    assert trainings.cancelled_in_s < 15
    job = row(worker.database, trainings.cancelled)
    assert job.state == "cancelled" and (job.error or {}).get("reason") == "cancelled"
    assert len(checkpoints(worker.settings, trainings.cancelled)) == 1, "written when it was told to stop"
    with worker.database.reading() as session:
        assert session.scalars(select(Model.id).where(Model.job_id == trainings.cancelled)).all() == []


def test_a_training_that_is_done_again_goes_on_where_the_other_one_ended(
    worker: Supervisor, dataset: str, trainings: Trainings
) -> None:
    database = worker.database
    again = submitted(database, "pretrain", pretraining(dataset, 100_000, checkpoint_every=100_000))
    with database.session() as session:
        session.get_one(Job, again).continues = trainings.cancelled
    cancelled(worker, again)
    assert sum("resumed from the checkpoint" in line for line in logs(database, again)) == 1
    kept = row(database, trainings.cancelled).checkpoint_step
    assert kept and metrics(database, again)[0][1] > kept


def test_a_buffer_is_a_dataset(worker: Supervisor, dataset: str, trainings: Trainings) -> None:
    with worker.database.reading() as session:
        kept = session.get_one(Dataset, trainings.buffer)
        assert kept.info is not None
        assert kept.role == kept.info["role"] == "buffer"
        assert 4 <= kept.info["samples"] <= PICTURES // 2, "four clusters of at most three"
        assert set(kept.parents) == {dataset, weights(worker.database, trainings.alone)[0]}
        assert session.scalars(select(DatasetFile.path).where(DatasetFile.dataset_id == kept.id)).all()


def test_the_next_stage_a_head_and_its_scores(worker: Supervisor, dataset: str, trainings: Trainings) -> None:
    """A stage with rehearsal, beside it a classifier that is then evaluated."""
    database = worker.database
    encoder = weights(database, trainings.alone)[0]
    other = Supervisor(worker.settings, threading.Event())
    next_stage = pretraining(dataset, 4, init_model=encoder, rehearsal=[trainings.buffer], checkpoint_every=100)
    stage_job = submitted(database, "pretrain", next_stage)
    with working(other):
        until(lambda: row(database, stage_job).state == "running")
        spec = {"task": "classification", "dataset": dataset, "init_model": encoder, "max_steps": 6, "batch_size": 8}
        head = finished(worker, submitted(database, "finetune", spec)).result
        assert head is not None
        spec = {"model": head["outputs"]["model"], "dataset": dataset, "split": "train"}
        scores = finished(worker, submitted(database, "evaluate", spec)).result
    other.database.engine.dispose()
    stage = row(database, stage_job).result
    assert stage is not None and scores is not None
    with database.reading() as session:
        made = session.get_one(Model, stage["outputs"]["model"])
        recorded = session.get_one(Evaluation, scores["outputs"]["evaluation"])
        files = {file.path: file.size for file in recorded.files}
        left = session.scalars(select(Leftover.prefix).where(Leftover.prefix.startswith("evaluations/"))).all()
    assert (made.parents, made.info["stage"], made.dataset_id) == ([encoder], 2, dataset)
    assert (recorded.model_id, recorded.encoder_id, recorded.split) == (head["outputs"]["model"], encoder, "train")
    assert recorded.score == scores["evaluation"]["metrics"]["f1"] and "cases" not in recorded.info
    below = f"evaluations/{recorded.id}/"
    stored = ObjectStore(worker.settings).sizes(below)
    assert {key.removeprefix(below): size for key, size in stored.items()} == files
    assert {"evaluation.json", "confusion.png"} <= files.keys() and left == []
    assert 0 <= scores["evaluation"]["metrics"]["accuracy"] <= 1
    assert len(scores["evaluation"]["confusion"]) == 2
    _measured_line(worker, [encoder, made.id])


def _measured_line(worker: Supervisor, models: list[str]) -> None:
    """What both stages make of pictures that neither has seen."""
    files = {f"{'val' if n < 12 else 'train'}/{('dark', 'bright')[n % 2]}/{n}.png": png(100 + n) for n in range(24)}
    raw = raw_dataset(worker.settings, worker.database, files, "ds_held0000000")
    job = finished(worker, submitted(worker.database, spec={"dataset": raw, "recipe": FOLDER, "output_name": "held"}))
    assert job.result is not None
    spec = {"models": models, "datasets": [job.result["outputs"]["dataset"]], "batch_size": 8}
    result = finished(worker, submitted(worker.database, "forgetting", spec)).result
    assert result is not None
    with worker.database.reading() as session:
        report = session.get_one(Evaluation, result["outputs"]["evaluation"])
        names = {file.path for file in report.files}
    assert (report.task, report.headline, report.model_id) == ("forgetting", "backward_transfer", models[-1])
    assert report.id.startswith("evl_") and names == {"forgetting.json", "forgetting.png"}
    table = report.info["forgetting"]["table"]
    assert [(line["stage"], line["modality"]) for line in table] == [(0, "xray"), (1, "xray")]
    assert table[1]["cka"] is not None and report.info["metrics"]["accuracy/xray"] > 0.5
