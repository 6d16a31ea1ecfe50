"""Short words for what happens to jobs in tests."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from services.core import attempts, jobs, once
from services.core.attempts import Claim
from services.core.db import Database
from services.core.jobs import NewJob
from services.core.lifecycle import State
from services.core.once import Answer, Ticket
from services.core.scope import EVERYTHING
from services.core.sweep import sweep
from services.core.tables import Job, JobEvent
from services.core.tables.base import now

LEASE_S = 30.0
DATASET = "ds_00000000000000000000"
WRONG_INPUT = {"title": "Input that cannot be used", "detail": "a.png: is empty", "reason": "data"}
SPEC = {"dataset": DATASET, "recipe": {"name": "image_folder"}}


def later(seconds: float = LEASE_S + 1) -> datetime:
    """A moment at which leases that are fresh now have run out."""
    return now() + timedelta(seconds=seconds)


def submitted(database: Database, *depends_on: str, key: str | None = None, owner: str = "key_1",
              created_by: str = "test", **changes: Any) -> str:  # fmt: skip
    """The id of a new job, or of the one that has been made under the key."""
    asked = NewJob(**{"kind": "preprocess", "spec": SPEC, "name": "test", "max_attempts": 3} | changes,
                   depends_on=depends_on)  # fmt: skip
    with database.session() as session:
        body = json.dumps(asdict(asked)).encode()
        ticket = Ticket(owner, key, "POST", "/v1/jobs", once.digest_of(body=body)) if key else None
        if ticket and (known := once.find(session, ticket)):
            return str(json.loads(known.body)["id"])
        job_id = jobs.submit(session, asked, created_by=created_by).id
        if ticket:
            once.keep(session, ticket, Answer(201, json.dumps({"id": job_id})), job_id)
        return job_id


def claimed(database: Database, job_id: str, worker: str = "worker") -> Claim | None:
    with database.session() as session:
        return attempts.claim(session, job_id, worker, LEASE_S)


def running(database: Database, **changes: Any) -> Claim:
    """A job that a worker has claimed."""
    claim = claimed(database, submitted(database, **changes))
    assert claim is not None
    return claim


def swept(database: Database, moment: datetime | None = None) -> list[str]:
    with database.session() as session:
        return [ring.job_id for ring in sweep(session, moment or now())]


def row(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return jobs.get(session, EVERYTHING, job_id)


def state(database: Database, job_id: str) -> State:
    return State(row(database, job_id).state)


def events(database: Database, job_id: str) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(JobEvent.type).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))
