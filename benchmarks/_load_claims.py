"""Workers that claim from one queue at the same moment, each a process with a connection of its own."""

import multiprocessing
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import func, select, update

from services.core import attempts
from services.core.db import Database
from services.core.jobs import changed
from services.core.tables import Job

LEASE_S = 600.0


@dataclass(frozen=True)
class Claims:
    """How many claims there were, in how many seconds, and how many jobs were claimed more than once."""

    count: int
    took_s: float
    doubled: int
    workers: int


def claims(url: str, workers: int) -> Claims:
    """Have `workers` processes claim everything that is queued and ready."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    told: Any = context.Queue()
    processes = [context.Process(target=_work, args=(url, f"worker-{n}", ready, told)) for n in range(workers)]
    for process in processes:
        process.start()
    ready.wait()
    began = time.perf_counter()
    found = [told.get() for _ in processes]
    took_s = time.perf_counter() - began
    for process in processes:
        process.join()
    taken = Counter(job_id for ids in found for job_id in ids)
    return Claims(taken.total(), took_s, sum(count > 1 for count in taken.values()), workers)


def _work(url: str, name: str, ready: Barrier, told: Any) -> None:
    database = Database(url)
    with database.session() as session:
        session.execute(select(1))
    taken: list[str] = []
    ready.wait()
    while True:
        with database.session() as session:
            claim = attempts.claim_next(session, name, LEASE_S)
        if claim is None:
            break
        taken.append(claim.job_id)
    told.put(taken)
    database.engine.dispose()


def queue(database: Database, count: int) -> int:
    """Queue `count` jobs, fewer if there are not so many, and nothing else; how many they are."""
    with database.session() as session:
        session.execute(update(Job).where(Job.state == "queued").values(state="cancelled"))
        ended = select(Job.id).where(Job.state.in_(["cancelled", "failed"])).order_by(Job.id).limit(count)
        queued = update(Job).where(Job.id.in_(ended)).values(state="queued", attempt=0, worker=None, gpus=None)
        return changed(session, queued)


def wrong(database: Database, count: int) -> int:
    """Jobs whose row does not say that it was claimed exactly once, of `count` that should."""
    with database.reading() as session:
        right = select(func.count()).where(Job.state == "running", Job.attempt == 1, Job.worker.like("worker-%"))
        return count - session.scalars(right).one()
