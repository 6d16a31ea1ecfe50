"""A patient in a training and in an evaluation split: the job is refused, or says why it was not."""

import threading

from services.core import registry
from services.core.settings import Settings
from services.core.tables import Model
from services.worker.supervisor import Supervisor
from tests.worker.work import logs, png, raw_dataset, row, submitted

LEAKING = 3


def test_leakage_is_refused_before_training_unless_a_reason_is_given(world: Settings) -> None:
    worker = Supervisor(world, threading.Event())
    files = {f"train/{'bright' if n % 2 else 'dark'}/{n:03d}.png": png(n) for n in range(12)}
    # the content stands for the patient: these three are known again under other names
    files |= {f"val/{'bright' if n % 2 else 'dark'}/other-{n}.png": png(n) for n in range(LEAKING)}
    files |= {f"val/{'bright' if n % 2 else 'dark'}/{n}.png": png(n) for n in range(20, 24)}
    raw_dataset(world, worker.database, files)
    prepared = submitted(worker.database)
    worker.run_next()
    made = row(worker.database, prepared)
    assert made.state == "succeeded" and made.result is not None, made.error
    dataset = made.result["outputs"]["dataset"]
    spec = {"dataset": dataset, "task": "classification", "size": "tiny", "max_steps": 1}
    refused = submitted(worker.database, "finetune", spec)
    worker.run_next()
    job = row(worker.database, refused)
    assert (job.state, job.attempt) == ("failed", 1)
    assert job.error is not None and job.error["reason"] == "data"
    said = job.error["detail"]
    assert f"{LEAKING} of the 7 patients in val and test of {dataset}" in said and f"({LEAKING} in {dataset})" in said
    allowed = submitted(worker.database, "finetune", spec | {"allow_leakage": "a dry run"})
    worker.run_next()
    job = row(worker.database, allowed)
    assert job.state == "succeeded" and job.result is not None, job.error
    with worker.database.reading() as session:
        (leakage,) = session.get_one(Model, job.result["outputs"]["model"]).info["leakage"]
    assert (leakage["reason"], leakage["patients"], leakage["datasets"]) == ("a dry run", LEAKING, {dataset: LEAKING})
    assert any("leakage allowed" in line for line in logs(worker.database, allowed))
    # a dataset of its own that is not read for training: its table alone is fetched
    other = submitted(worker.database)
    worker.run_next()
    made = row(worker.database, other)
    assert made.result is not None
    compared = made.result["outputs"]["dataset"]
    stage = {"dataset": dataset, "size": "tiny", "max_steps": 1, "allow_leakage": "a dry run"}
    trained = submitted(worker.database, "pretrain", stage | {"measured_on": [compared]})
    worker.run_next()
    job = row(worker.database, trained)
    assert job.state == "succeeded" and job.result is not None, job.error
    model = job.result["outputs"]["model"]
    with worker.database.reading() as session:
        found = session.get_one(Model, model).info["leakage"]
        assert registry.inputs_of(session, model) == {dataset}
    assert {one["measured_on"] for one in found} == {f"val and test of {name}" for name in (dataset, compared)}
    assert [p.name for p in (world.cache_dir / "records" / f"{compared}-table").iterdir()] == ["samples.parquet"]
    assert not (world.cache_dir / "records" / compared).exists()
    worker.database.engine.dispose()
