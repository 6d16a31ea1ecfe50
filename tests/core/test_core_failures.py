"""A failed attempt tells its reason, its last log lines, and what to try."""

from typing import Any

import pytest
from sqlalchemy import select

from medcoss.specs import EVERY_KIND
from services.core import attempts
from services.core.db import Database
from services.core.jobs import problem
from services.core.lifecycle import State
from services.core.tables import JobEvent
from tests.core.databases import engines
from tests.core.steps import WRONG_INPUT, claimed, later, row, running, submitted, swept
from tests.core.test_core_workers import beat, heard

MODEL, DATASET = "mdl_00000000000000000000", "ds_00000000000000000000"


def failed(database: Database, why: dict[str, Any], kind: str = "preprocess", **changes: Any) -> dict[str, Any]:
    claim = running(database, kind=kind, **changes)
    with database.session() as session:
        attempts.record_rows(session, claim.job_id, claim.fence, logs=[("info", f"line {n}") for n in range(30)])
        attempts.fail(session, claim.job_id, claim.fence, why)
    error = row(database, claim.job_id).error
    assert error is not None
    return error


def spec(kind: str, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = EVERY_KIND[kind].spec.model_validate(fields).model_dump(mode="json")
    return found


@engines
def test_the_last_lines_of_this_attempt_come_with_it(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        attempts.record_rows(session, claim.job_id, claim.fence, logs=[("info", "of the first attempt")])
        attempts.fail(session, claim.job_id, claim.fence, problem("Broken", "it broke", "code"))
    again = claimed(database, claim.job_id)
    assert again is not None
    with database.session() as session:
        lines = [("info", f"line {n}") for n in range(29)] + [("error", "x" * 900)]
        attempts.record_rows(session, again.job_id, again.fence, logs=lines)
        attempts.fail(session, again.job_id, again.fence, WRONG_INPUT)
    error = row(database, claim.job_id).error
    assert error is not None and error["reason"] == "data"
    assert error["log"][:-1] == [f"info: line {n}" for n in range(10, 29)]
    assert len(error["log"]) == 20 and len(error["log"][-1]) == 500
    with database.reading() as session:
        told = [e.data["problem"] for e in session.scalars(select(JobEvent).where(JobEvent.type == "attempt_failed"))]
    assert [p["log"][0] for p in told] == ["info: of the first attempt", "info: line 10"], "each attempt keeps its own"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        (
            "pretrain",
            {"dataset": DATASET, "batch_size": 32},
            "set accumulate to 2: the batch of 32 is computed 16",
        ),
        ("pretrain", {"dataset": DATASET, "batch_size": 9}, "set accumulate to 3: the batch of 9 is computed 3"),
        ("evaluate", {"dataset": DATASET, "model": MODEL}, "set batch_size to 4, half"),
        ("finetune", {"dataset": DATASET, "task": "classification", "size": "base"}, "set size to small"),
        ("preprocess", {"dataset": DATASET, "recipe": {"name": "image_folder"}}, "split the largest files"),
        (
            "preprocess_chunk",
            {"dataset": DATASET, "recipe": {"name": "image_folder"}, "chunk": 0, "chunks": 2},
            "split the largest files",
        ),
    ],
)
def test_what_to_try_when_memory_ran_out(database: Database, kind: str, fields: dict[str, Any], expected: str) -> None:
    why = problem("Out of memory", "memory ran out", "out_of_memory")
    found = failed(database, why, kind, spec=spec(kind, **fields))["advice"]
    assert any(line.startswith(expected) or expected in line for line in found), found
    assert found[-1] == "attempt 2 of 3 starts by itself, from the beginning"


def test_what_to_try_counts_the_gpus_that_share_a_batch(database: Database) -> None:
    why = problem("Out of memory", "memory ran out", "out_of_memory")
    asked = spec("pretrain", dataset=DATASET, batch_size=24)
    found = failed(database, why, "pretrain", spec=asked, gpus=4)["advice"]
    assert found[0].startswith("set accumulate to 2: each process's 6 samples of the batch are computed 3 samples at")


def test_what_to_try_depends_on_the_reason(database: Database) -> None:
    def first(reason: str, **more: Any) -> str:
        why = problem("t", "d", reason) | more.pop("why", {})
        return str(failed(database, why, max_attempts=1, **more)["advice"][0])

    assert first("data", why={"where": "a.png"}).startswith("mend or leave out a.png and submit")
    assert first("data", why={"where": "recipe"}).startswith("change recipe in the spec")
    assert "no out-of-memory kill" in first("killed") or "counted no" in first("killed")
    assert "object store" in first("storage") and "Triton" in first("serving")
    assert first("code").startswith("report it with the id job_")
    assert "all 1 attempts are used up" in first("lost_worker")


@engines
def test_a_lost_worker_is_explained_as_far_as_it_is_known(database: Database) -> None:
    heard(database, beat("ward-1:7"))
    job_id = submitted(database)
    claim = claimed(database, job_id, "ward-1:7")
    assert claim is not None
    with database.session() as session:
        attempts.record_rows(session, job_id, claim.fence, logs=[("info", "epoch 3")])
        attempts.record_progress(session, job_id, claim.fence, done=40, total=100, message="training", eta_s=None)
        attempts.record_checkpoint(session, job_id, claim.fence, 30)
    swept(database, later())
    error = row(database, job_id).error
    assert error is not None and error["reason"] == "lost_worker"
    detail = error["detail"]
    assert "ward-1:7" in detail and "40 of 100 were done (training)" in detail and "checkpoint is of step 30" in detail
    assert "last heard of at 20" in detail
    assert error["advice"] == [
        "nothing has to be done: attempt 2 of 3 starts by itself, from the checkpoint of step 30 or a later one"
    ]
    with database.reading() as session:
        data = session.scalars(select(JobEvent).where(JobEvent.type == "attempt_failed")).one().data
    lost = data["lost"]
    assert (lost["worker"], lost["host"], lost["done"], lost["total"]) == ("ward-1:7", "ward-1", 40, 100)
    assert (lost["doing"], lost["checkpoint_step"], lost["last_log"]) == ("training", 30, "info: epoch 3")
    assert lost["last_heartbeat"] and lost["lease_until"]


@engines
def test_cancelled_and_out_of_time_are_typed_too(database: Database) -> None:
    cancelled, late = running(database), running(database, time_limit_s=1.0)
    with database.session() as session:
        attempts.release(session, cancelled.job_id, cancelled.fence, State.CANCELLED, "cancelled by its owner")
        attempts.set_aside(session, late.job_id, late.fence)
    first, second = row(database, cancelled.job_id), row(database, late.job_id)
    assert (first.state, first.error and first.error["reason"]) == ("cancelled", "cancelled")
    assert (second.state, second.error and second.error["reason"]) == ("paused", "time_limit")
    assert second.error is not None and second.error["advice"][0].startswith("raise time_limit_s and resume it")


@engines
def test_a_checkpoint_is_known_until_the_job_has_succeeded(database: Database) -> None:
    claim = running(database)
    with database.session() as session:
        assert attempts.record_checkpoint(session, claim.job_id, claim.fence, 7)
        assert not attempts.record_checkpoint(session, claim.job_id, claim.fence - 1, 8)
    assert row(database, claim.job_id).checkpoint_step == 7
    with database.session() as session:
        attempts.succeed(session, claim.job_id, claim.fence, {})
    assert row(database, claim.job_id).checkpoint_step is None
