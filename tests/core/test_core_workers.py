"""Workers that tell of themselves, and those that have fallen silent."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import update

from services.core import workers
from services.core.db import Database
from services.core.tables import Worker
from services.core.tables.base import now
from services.core.workers import REMEMBERED, SILENT, Beat, WorkerState
from tests.core.databases import engines
from tests.core.steps import swept


def beat(name: str = "ward-1:7", **changes: object) -> Beat:
    made = Beat(
        name=name, host="ward-1", pid=7, version="1", queues=["jobs"], gpus=0, gpu_model=None, gpu_memory_bytes=None,
        memory_bytes=2**34, cpus=4, started_at=now(), state=WorkerState.IDLE,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def heard(database: Database, *beats: Beat) -> None:
    with database.session() as session:
        for each in beats:
            workers.heard(session, each)


def silent_since(database: Database, name: str, age: timedelta) -> None:
    with database.session() as session:
        session.execute(update(Worker).where(Worker.name == name).values(seen_at=now() - age))


def states(database: Database) -> dict[str, str]:
    with database.reading() as session:
        return {row.name: row.state for row in workers.known(session)}


@engines
def test_a_beat_makes_a_worker_known_and_the_next_ones_renew_it(database: Database) -> None:
    heard(database, beat(gpus=2, gpu_model="NVIDIA H100", gpu_memory_bytes=85 * 10**9))
    with database.reading() as session:
        (first,) = workers.alive(session, now())
    heard(database, beat(state=WorkerState.RUNNING, job_id="job_1", gpu_utilisation=0.5))
    with database.reading() as session:
        (second,) = workers.alive(session, now())
    assert (first.gpus, first.gpu_model, first.state) == (2, "NVIDIA H100", "idle")
    assert (second.state, second.job_id, second.gpu_utilisation) == ("running", "job_1", 0.5)
    assert second.seen_at >= first.seen_at


@engines
def test_the_sweeper_marks_the_silent_and_forgets_the_old(database: Database) -> None:
    heard(database, beat("a"), beat("b"), beat("c"))
    silent_since(database, "b", SILENT + timedelta(seconds=1))
    silent_since(database, "c", REMEMBERED + timedelta(seconds=1))
    with database.reading() as session:
        assert [row.name for row in workers.alive(session, now())] == ["a"], "known before the sweeper has come"
    swept(database)
    swept(database)
    assert states(database) == {"a": "idle", "b": "gone"}
    heard(database, beat("b"))
    assert states(database) == {"a": "idle", "b": "idle"}, "it was only frozen"


@engines
def test_a_worker_that_says_good_bye_is_gone_at_once(database: Database) -> None:
    heard(database, beat("a", state=WorkerState.DRAINING, job_id="job_1"), beat("b"))
    with database.session() as session:
        workers.left(session, "a")
    with database.reading() as session:
        assert [row.name for row in workers.alive(session, now())] == ["b"]
        gone = session.get(Worker, "a")
    assert gone is not None and (gone.state, gone.job_id) == ("gone", None)
