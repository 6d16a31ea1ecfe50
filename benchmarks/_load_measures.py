"""Requests: lists of every kind, and submissions at a rate. Times in milliseconds."""

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks._load_client import Connection
from benchmarks._load_fill import DATASET, OWNERS, TAGS
from benchmarks._load_platform import KEY
from services.core.lists import JOBS

SUBMISSION = {"kind": "preprocess", "name": "films", "spec": {"dataset": DATASET, "recipe": {"name": "image_folder"}}}
VALUES = {
    "state": "failed", "kind": "pretrain", "created_by": OWNERS[3], "name": "chest", "tag": TAGS[0], "input": DATASET,
    "depends_on": "job_000000001", "created_after": "2020-06-01T00:00:00Z", "created_before": "2023-01-01T00:00:00Z",
    "finished_after": "2020-06-01T00:00:00Z", "finished_before": "2023-01-01T00:00:00Z",
}  # fmt: skip


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


# what narrows an order down to a part of it
RANGES = {"created_at": "&created_after={created_after}&created_before={created_before}", "name": "&name={name}",
          "finished_at": "&finished_after={finished_after}&finished_before={finished_before}"}  # fmt: skip


def queries() -> Iterator[str]:
    """A list for every combination that an index carries, in each of its orders, whole and as a range; for all
    projects and for one.
    """
    for way, project in itertools.product(JOBS.ways, ("", "&project=cardio")):
        named = [*way.equal, *([way.via] if way.via else [])]
        words = "".join(f"&{name}={VALUES[name]}" for name in named) + project
        for sort in way.sorts:
            yield f"/v1/jobs?limit=50&sort=-{sort}{words}"
            if sort in RANGES:
                yield f"/v1/jobs?limit=50&sort=-{sort}{words}{RANGES[sort].format(**VALUES)}"
        for name in way.rest:
            yield f"/v1/jobs?limit=50&{name}={VALUES[name]}{words}"


async def lists(port: int, turns: int) -> dict[str, list[float]]:
    """Times of every list's first and second page, `turns` times over."""
    connection = Connection(port, KEY)
    times: dict[str, list[float]] = {}
    for turn in range(turns + 1):
        for query in queries():
            cursor = ""
            for page in ("", " (2nd page)"):
                began = time.perf_counter()
                reply = await connection.ask("GET", query + cursor)
                took = (time.perf_counter() - began) * 1000
                if reply.status != 200:
                    raise SystemExit(f"{query}: {reply.status} {reply.body.decode()[:300]}")
                if turn:
                    # the first turn fills caches of the database
                    times.setdefault(query + page, []).append(took)
                following = reply.json()["next"]
                if following is None:
                    break
                cursor = f"&cursor={following}"
    connection.close()
    return times


@dataclass
class Submissions:
    """What became of submissions: times from the moment when each was due, seconds that all took, refusals."""

    times: list[float] = field(default_factory=list)
    took_s: float = 0.0
    refused: list[str] = field(default_factory=list)


async def submissions(port: int, per_s: float, seconds: float, connections: int, priority: int = 0) -> Submissions:
    """Submit jobs at a steady rate, whatever the answers do: a late answer makes those behind it late, too."""
    due: asyncio.Queue[float] = asyncio.Queue()
    found = Submissions()
    lines = [asyncio.create_task(_submit(port, due, found, priority)) for _ in range(connections)]
    began = time.perf_counter()
    for number in range(int(per_s * seconds)):
        at = began + number / per_s
        await asyncio.sleep(max(at - time.perf_counter(), 0))
        due.put_nowait(at)
    await due.join()
    found.took_s = time.perf_counter() - began
    for line in lines:
        line.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    return found


async def _submit(port: int, due: "asyncio.Queue[float]", found: Submissions, priority: int) -> None:
    connection = Connection(port, KEY)
    try:
        while True:
            at = await due.get()
            body: dict[str, Any] = SUBMISSION | {"priority": priority}
            reply = await connection.ask("POST", "/v1/jobs", body)
            found.times.append((time.perf_counter() - at) * 1000)
            if reply.status != 201:
                found.refused.append(f"{reply.status} {reply.body[:300].decode()}")
            due.task_done()
    finally:
        connection.close()
