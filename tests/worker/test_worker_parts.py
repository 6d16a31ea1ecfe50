"""Preprocessing jobs that are shut down and killed go on where they were, from parts in the object store."""

import threading
from pathlib import Path

from sqlalchemy import select

from medcoss.preprocess.engine.parts import Part
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun, sha256_file
from medcoss.specs import PreprocessSpec
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset, DatasetFile, Leftover, Project
from services.worker.parts import S3Parts
from services.worker.supervisor import Supervisor
from tests.worker.work import child_of, events, raw_dataset, row, submitted, until, working

# so many that a job is still at work when it has told of its first reports
ROWS = 40_000
SPEC = {"dataset": "ds_raw0000000", "recipe": {"name": "openi_reports"}}


def table() -> bytes:
    lines = (
        f"s{i},The heart of number {i} is {i % 7} times as large as it was. No effusion.,Stable." for i in range(ROWS)
    )
    return "\n".join(["study_id,findings,impression", *lines]).encode()


def test_a_job_that_was_shut_down_and_killed_makes_the_dataset_of_one_left_alone(
    world: Settings, tmp_path: Path
) -> None:
    stopping = threading.Event()
    worker = Supervisor(world, stopping)
    database = worker.database
    raw_dataset(world, database, {"reports.csv": table()})
    job_id = submitted(database, spec=SPEC)
    parts = S3Parts(ObjectStore(world), job_id, lambda step: None)
    with working(worker):
        until(lambda: (row(database, job_id).done or 0) >= 1, what="the first reports")
        stopping.set()
    job = row(database, job_id)
    assert (job.state, job.attempt) == ("queued", 0)
    (first,) = parts.names()
    kept = Part.named(first)
    assert kept is not None
    assert 0 < kept.end == job.checkpoint_step < ROWS
    stopping.clear()
    with working(worker):
        until(lambda: (row(database, job_id).done or 0) > kept.end, what="more reports")
        child = child_of(job_id)
        assert child is not None
        child.kill()
    worker.run_next()
    job = row(database, job_id)
    assert job.state == "succeeded", job.error
    assert (job.done, job.total) == (ROWS, ROWS)
    assert events(database, job_id).count("running") == 3
    with database.reading() as session:
        dataset = session.scalars(select(Dataset).where(Dataset.job_id == job_id)).one()
        files = session.scalars(select(DatasetFile).where(DatasetFile.dataset_id == dataset.id))
        found = {file.path: file.sha256 for file in files}
        assert any(parts.prefix.startswith(prefix) for prefix in session.scalars(select(Leftover.prefix))), (
            "to be removed"
        )
        salt = session.get_one(Project, dataset.project_id).patient_salt
    database.engine.dispose()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "reports.csv").write_bytes(table())
    spec = PreprocessSpec.model_validate(SPEC)
    preprocess(
        spec, tmp_path / "raw", tmp_path / "dataset", LocalRun(tmp_path / "run"), salt=salt.encode(), processes=2
    )
    assert found == {path.name: sha256_file(path) for path in (tmp_path / "dataset").iterdir()}


def test_a_damaged_part_is_as_good_as_none(world: Settings, tmp_path: Path) -> None:
    store = ObjectStore(world)
    parts = S3Parts(store, "job_damaged", lambda step: None)
    whole = tmp_path / "w"
    whole.write_bytes(b"records")
    name = f"{'a' * 16}-000000000-000000005-{sha256_file(whole)}.part"
    seen: list[int] = []
    S3Parts(store, "job_damaged", seen.append).put(whole.rename(tmp_path / name), 5)
    assert (parts.names(), seen) == ([name], [5])
    target = tmp_path / "fetched"
    target.mkdir()
    got = parts.get(name, target)
    assert got is not None
    assert got.read_bytes() == b"records"
    store.put_bytes(f"{parts.prefix}/{name}", b"recorts")
    assert parts.get(name, target) is None
    store.remove_prefix(f"{parts.prefix}/")
    assert parts.get(name, target) is None
