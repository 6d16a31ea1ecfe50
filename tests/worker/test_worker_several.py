"""Several trainings as one job: by seeds, by folds and by encoders, each a child job with a model of its own."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from services.core.db import Database
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Evaluation, Job, JobArtifact, Model, ModelFile
from services.worker.supervisor import Supervisor
from tests.worker.test_worker_chunks import run_all
from tests.worker.work import child_of, class_folders, raw_dataset, row, submitted, until, working

TINY = {"task": "classification", "size": "tiny", "batch_size": 4, "log_every": 1, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def worker(world: Settings) -> Iterator[Supervisor]:
    made = Supervisor(world, threading.Event())
    yield made
    made.database.engine.dispose()


@pytest.fixture(scope="module")
def dataset(worker: Supervisor) -> str:
    folders = {"train": 12, "val": 6, "test": 6}
    splits = [split for split, count in folders.items() for _ in range(count)]
    files = zip(splits, class_folders(24).items(), strict=True)
    raw_dataset(worker.settings, worker.database, {f"{split}/{path}": data for split, (path, data) in files})
    made = submitted(worker.database)
    worker.run_next()
    job = row(worker.database, made)
    assert job.state == "succeeded" and job.result is not None, job.error
    return str(job.result["outputs"]["dataset"])


def runs(database: Database, job_id: str) -> list[Job]:
    with database.reading() as session:
        found = session.scalars(select(Job).where(Job.parent_id == job_id)).all()
    return sorted(found, key=lambda child: int(child.spec["run"]))


def result(database: Database, job_id: str) -> dict[str, Any]:
    job = row(database, job_id)
    assert job.state == "succeeded" and job.result is not None, job.error
    return job.result


def weights(database: Database, model_id: str) -> str:
    """The hash of a model's weights."""
    with database.reading() as session:
        of = select(ModelFile.sha256).where(ModelFile.model_id == model_id, ModelFile.path == "model.safetensors")
        return session.scalars(of).one()


def artifact(worker: Supervisor, job_id: str, name: str) -> bytes:
    with worker.database.reading() as session:
        key = session.get_one(JobArtifact, (job_id, name)).key
    return ObjectStore(worker.settings).get_bytes(key)


def test_a_seed_gives_the_model_of_a_single_job_though_its_run_was_killed(worker: Supervisor, dataset: str) -> None:
    database = worker.database
    asked = TINY | {"dataset": dataset, "max_steps": 6, "output_name": "chest"}
    single = submitted(database, "finetune", asked | {"seed": 7, "score_split": "val"})
    worker.run_next()
    alone = result(database, single)
    job_id = submitted(database, "finetune", asked | {"seeds": [3, 7], "score_split": "val"})
    assert (row(database, job_id).state, row(database, job_id).children) == ("waiting", 2)
    first, second = runs(database, job_id)
    assert (first.kind, first.name) == ("finetune_run", "finetune, run 1 of 2 (seed 3)")
    worker.run_next()
    with working(worker):
        until(lambda: row(database, second.id).checkpoint_step, what="a checkpoint of the second run")
        process = child_of(second.id)
        assert process is not None
        process.kill()
    run_all(worker)
    assert [child.attempt for child in runs(database, job_id)] == [1, 2]
    found = result(database, job_id)
    told = found["runs"]
    assert [(run["seed"], run["job_id"]) for run in told["runs"]] == [(3, first.id), (7, second.id)]
    models = [run["model_id"] for run in told["runs"]]
    assert weights(database, models[1]) == weights(database, alone["outputs"]["model"])
    assert weights(database, models[0]) != weights(database, models[1])
    assert told["runs"][1]["metrics"] == alone["metrics"]
    with database.reading() as session:
        assert [session.get_one(Model, model).name for model in models] == ["chest-seed3", "chest-seed7"]
        kept = session.scalars(select(Evaluation).where(Evaluation.model_id.in_(models)).order_by(Evaluation.seed))
        assert [(e.id, e.seed, e.split, e.score) for e in kept] == [
            (run["evaluation_id"], run["seed"], "val", run["metrics"]["val/f1"]) for run in told["runs"]
        ]
    values = [run["metrics"]["val/f1"] for run in told["runs"]]
    spread = told["groups"][0]["metrics"]["val/f1"]
    assert found["metrics"]["val/f1"] == spread["mean"] == pytest.approx(sum(values) / 2)
    assert spread["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert found["outputs"]["model"] == models[told["best"]] and values[told["best"]] == max(values)
    assert artifact(worker, job_id, "runs.png").startswith(b"\x89PNG")


def test_a_comparison_scores_every_patient_once(worker: Supervisor, dataset: str) -> None:
    database = worker.database
    more = {"encoders": {"from scratch": None}, "seeds": [5], "folds": 2, "keep": "last"}
    job_id = submitted(database, "compare", TINY | {"dataset": dataset, "max_steps": 1, **more})
    run_all(worker)
    told = result(database, job_id)["runs"]
    assert [(run["encoder"], run["seed"], run["fold"]) for run in told["runs"]] == [
        ("from scratch", 5, 0), ("from scratch", 5, 1),
    ]  # fmt: skip
    (scratch,) = told["groups"]
    (pooled,) = scratch["pooled"]
    folds = [
        {case["source"] for case in json.loads(artifact(worker, run["job_id"], "held_out-evaluation.json"))["cases"]}
        for run in told["runs"]
    ]
    assert not folds[0] & folds[1] and len(folds[0] | folds[1]) == pooled["cases"] == 18
    assert sum(sum(line) for line in pooled["confusion"]) == 18
    assert {"held_out/f1", "test/f1", "train/f1"} <= set(scratch["metrics"]), "no fold chooses when the last are kept"
    assert told["best"] is None and "model" not in result(database, job_id)["outputs"]
    with database.reading() as session:
        names = set(session.scalars(select(Model.name).where(Model.job_id.in_(r["job_id"] for r in told["runs"]))))
    assert names == {f"xray-classification-from_scratch-seed5-fold{fold}" for fold in range(2)}
    table = artifact(worker, job_id, "comparison.md").decode()
    assert "| from scratch | tiny | 2 |" in table and "held_out/f1" in table
    assert json.loads(artifact(worker, job_id, "comparison.json")) == told
    assert artifact(worker, job_id, "comparison.png").startswith(b"\x89PNG")


def test_folds_that_cannot_be_made_end_the_job_with_the_reason(worker: Supervisor, dataset: str) -> None:
    job_id = submitted(worker.database, "finetune", TINY | {"dataset": dataset, "folds": 20, "max_steps": 1})
    run_all(worker)
    job = row(worker.database, job_id)
    assert job.error is not None and (job.state, job.error["reason"]) == ("failed", "data")
    assert "run 1 of 20 (seed 0, fold 0)" in job.error["detail"]
    assert "patients or cases" in job.error["detail"] and "give fewer folds" in job.error["detail"]
