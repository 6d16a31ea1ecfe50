"""Watchers of streams, and what they have to be told."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks._load_client import Connection
from benchmarks._load_platform import KEY
from services.core import attempts
from services.core.db import Database
from services.core.jobs import NewJob, submit

LEASE_S = 600.0
SENT = "sent"


@dataclass
class Watched:
    """What one watcher was told: the times of the rows in order, and how late each came (ms)."""

    job_id: str
    rows: list[int] = field(default_factory=list)
    late: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Running:
    """A job that reports, with the fence of its claim."""

    job_id: str
    fence: int


def running_jobs(database: Database, count: int) -> list[Running]:
    """Jobs that a worker has claimed."""
    found = []
    for number in range(count):
        with database.session() as session:
            job = submit(session, NewJob("preprocess", {}, f"watched {number}", 3, priority=9), created_by="watched")
            claimed = attempts.claim(session, job.id, "watched", LEASE_S)
            assert claimed is not None
            found.append(Running(job.id, claimed.fence))
    return found


@contextmanager
def reporting(database: Database, jobs: Sequence[Running], per_s: float) -> Iterator[list[int]]:
    """Have each job report a metric `per_s` times a second; the value is the moment. Yields the number of reports."""
    over, told = threading.Event(), [0]

    def report() -> None:
        began = time.perf_counter()
        while not over.is_set():
            for job in jobs:
                with database.session() as session:
                    values = {SENT: time.time()}
                    attempts.record_rows(session, job.job_id, job.fence, metrics=[(told[0], values)])
            told[0] += 1
            over.wait(max(began + told[0] / per_s - time.perf_counter(), 0))

    thread = threading.Thread(target=report)
    thread.start()
    try:
        yield told
    finally:
        over.set()
        thread.join()


async def watch(port: int, jobs: Sequence[Running], watchers: int, database: Database, seconds: float,
                per_s: float) -> tuple[list[Watched], int]:  # fmt: skip
    """Watch jobs while they report; what each watcher was told, and how many reports each job has made."""
    found = [Watched(jobs[number % len(jobs)].job_id) for number in range(watchers)]
    connections = [Connection(port, KEY) for _ in found]
    tasks = [asyncio.create_task(_read(c, w)) for c, w in zip(connections, found, strict=True)]
    with reporting(database, jobs, per_s) as told:
        await asyncio.sleep(seconds)
    # the last rows are on their way
    deadline = time.monotonic() + 10
    while any(len(w.rows) < told[0] for w in found) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended
    for connection in connections:
        connection.close()
    return found, told[0]


async def _read(connection: Connection, watched: Watched) -> None:
    await connection.send("GET", f"/v1/jobs/{watched.job_id}/stream?include=metrics")
    status, _ = await connection.head()
    if status != 200:
        raise SystemExit(f"a stream was refused: {status}")
    while True:
        line = await connection.reader.readline()
        if not line:
            raise SystemExit("a stream has ended")
        if line.startswith(b"data: ") and (at := line.find(b'"sent":')) > 0:
            moment = float(line[at + 7 :].lstrip().split(b"}")[0])
            watched.late.append((time.time() - moment) * 1000)
            step = line[line.index(b'"step":') + 7 :].lstrip().split(b",")[0]
            watched.rows.append(int(step))
