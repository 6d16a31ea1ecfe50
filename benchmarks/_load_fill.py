"""Rows of years of use, written past the API."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from services.core.db import Database
from services.core.tables import DEFAULT_PROJECT, Dataset, Job, JobEvent, JobInput, JobTag, Project

KINDS = ("preprocess", "pretrain", "build_buffer", "finetune", "evaluate", "export")
# of jobs: most have ended long ago
STATES = {"succeeded": 0.88, "failed": 0.06, "cancelled": 0.03, "queued": 0.02, "paused": 0.005, "waiting": 0.005}
OWNERS = tuple(f"group-{n:02d}" for n in range(20))
PROJECTS = (DEFAULT_PROJECT, "prj_cardio", "prj_neuro")
TAGS = ("baseline", "ablation", "paper", "night")
DATASET = "ds_10ad10ad10ad10ad10ad1"
AT_ONCE = 2_000
_BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


def prepare(database: Database) -> None:
    """Projects and a dataset that jobs can name."""
    with database.session() as session:
        session.add_all(Project(id=key, name=key.removeprefix("prj_")) for key in PROJECTS[1:])
        session.add(
            Dataset(id=DATASET, name="films", description="", role="raw", state="ready", modality="xray", file_count=0,
                    total_bytes=0, parents=[], prefix=f"datasets/{DATASET}", project_id=DEFAULT_PROJECT)
        )  # fmt: skip


def fill(database: Database, count: int, already: int = 0) -> None:
    """Jobs up to `count`, `already` of which are there; each with its input and its events."""
    for start in range(already, count, AT_ONCE):
        jobs = [_job(number) for number in range(start, min(start + AT_ONCE, count))]
        with database.engine.begin() as connection:
            connection.execute(insert(Job), jobs)
            connection.execute(insert(JobInput), [
                {"job_id": job["id"], "input_id": DATASET if number % 50 == 0 else f"ds_{number % 5000}",
                 "resource": "dataset"} for number, job in enumerate(jobs, start)
            ])  # fmt: skip
            connection.execute(insert(JobEvent), [event for job in jobs for event in _events(job)])
            tags = [tag for number, job in enumerate(jobs, start) for tag in _tags(number, job)]
            connection.execute(insert(JobTag), tags)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))


def _job(number: int) -> dict[str, Any]:
    draw = random.Random(number)
    state = draw.choices(list(STATES), list(STATES.values()))[0]
    created = _BEGIN + timedelta(minutes=20 * number, seconds=draw.random())
    over = state in {"succeeded", "failed", "cancelled"}
    priority = draw.choice((0, 0, 0, 0, 1, -1))
    return {
        "id": f"job_{number:09d}", "project_id": draw.choice(PROJECTS), "kind": draw.choice(KINDS),
        "name": (name := f"{draw.choice(('chest', 'brain', 'colon', 'atrium'))} {number}"), "name_key": name,
        "notes": "", "state": state, "spec": {"dataset": f"ds_{number % 5000}", "epochs": 100, "seed": number},
        "priority": priority, "rank": -priority, "turn": number // len(OWNERS), "attempt": 1 if over else 0,
        "max_attempts": 3, "backoff_s": 0.0, "ran_s": draw.random() * 1e5 if over else 0.0, "fence": 1 if over else 0,
        "created_by": draw.choice(OWNERS), "created_at": created,
        "started_at": created + timedelta(minutes=1) if over else None,
        "finished_at": created + timedelta(hours=5) if over else None, "gpus": draw.choice((None, 0, 1)),
        "result": {"outputs": {"model": f"mdl_{number}"}, "metrics": {"loss": draw.random()}} if over else None,
    }  # fmt: skip


def _events(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"job_id": job["id"], "attempt": 0, "type": "queued", "data": {}, "at": job["created_at"]}
    if job["started_at"] is not None:
        data = {"worker": "gpu-1@medcoss"}
        yield {"job_id": job["id"], "attempt": 1, "type": "running", "data": data, "at": job["started_at"]}
        yield {"job_id": job["id"], "attempt": 1, "type": job["state"], "data": {}, "at": job["finished_at"]}


def _tags(number: int, job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if number % 10 == 0:
        yield {"item_id": job["id"], "tag": TAGS[number // 10 % len(TAGS)], "project_id": job["project_id"],
               "created_at": job["created_at"]}  # fmt: skip
