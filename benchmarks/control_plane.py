"""Load on the control plane: lists, submissions, starts, watchers, claims.

    python benchmarks/control_plane.py

Starts PostgreSQL, Redis, SeaweedFS and one control plane as processes, fills the database with jobs, and measures over
HTTP, all on the same machine: what the benchmark itself and the servers use is in every figure.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sqlalchemy import func, select, update

from benchmarks import _load_claims as claiming
from benchmarks import _load_measures as measures
from benchmarks import _load_watchers as watching
from benchmarks._load_client import Connection
from benchmarks._load_fill import fill, prepare
from benchmarks._load_measures import quantile
from benchmarks._load_platform import KEY, Platform
from benchmarks._machine import cores
from services.core.tables import Job, JobEvent

PARTS = ("lists", "submissions", "watchers", "claims", "starts")


def main(arguments: list[str] | None = None) -> int:
    """Measure; 0 when nothing was lost, doubled or refused."""
    options = _options(arguments)
    out = Path(tempfile.mkdtemp(prefix="medcoss-load-"))
    print(cores(), flush=True)
    platform = Platform(out)
    try:
        prepare(platform.database)
        done: dict[str, Callable[[Platform, argparse.Namespace], int]] = {
            "lists": _lists, "submissions": _submissions, "watchers": _watchers, "claims": _claims, "starts": _starts,
        }  # fmt: skip
        if "lists" not in options.parts:
            _fill(platform, options.jobs, 0)
        return int(sum(done[part](platform, options) for part in PARTS if part in options.parts) > 0)
    finally:
        platform.close()
        shutil.rmtree(out)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="jobs in the database")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--turns", type=int, default=10, help="times that each list is asked for")
    parser.add_argument("--per-s", type=float, default=200, help="submissions a second")
    parser.add_argument("--processes", type=int, default=2, help="of the control plane that takes submissions")
    parser.add_argument("--seconds", type=float, default=60, help="time of submissions, and of watching")
    parser.add_argument("--watchers", type=int, default=200, help="streams that are open at once")
    parser.add_argument("--workers", type=int, default=50, help="processes that claim")
    parser.add_argument("--claims", type=int, default=10_000, help="jobs that are claimed, at most the cancelled ones")
    parser.add_argument("--starts", type=int, default=30, help="jobs that are submitted to an idle worker")
    return parser.parse_args(arguments)


def _fill(platform: Platform, jobs: int, already: int) -> None:
    began = time.monotonic()
    fill(platform.database, jobs, already)
    print(f"filled: {jobs:,} jobs, {time.monotonic() - began:.0f} s", flush=True)


def _lists(platform: Platform, options: argparse.Namespace) -> int:
    """Each list with its table grown tenfold twice."""
    sizes, already = [max(options.jobs // 100, 500), max(options.jobs // 10, 500), options.jobs], 0
    tables: list[dict[str, list[float]]] = []
    for size in dict.fromkeys(sizes):
        _fill(platform, size, already)
        already = size
        tables.append(asyncio.run(measures.lists(platform.port, options.turns)))
        every = [took for times in tables[-1].values() for took in times]
        print(f"lists, {size:,} jobs: {len(tables[-1])} lists of 50, {_times(every)}", flush=True)
    slow = sorted(tables[-1], key=lambda name: -quantile(tables[-1][name], 0.5))[:5]
    for name in slow:
        small = f"{quantile(tables[0][name], 0.5):.1f}" if name in tables[0] else "-"
        print(f"  slowest: p50 {quantile(tables[-1][name], 0.5):.1f} (at {sizes[0]:,} jobs {small})  {name}")
    return 0


def _times(values: Sequence[float]) -> str:
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    return ", ".join(f"{name} {quantile(values, share):.1f} ms" for name, share in shares.items()) + (
        f", longest {max(values):.1f} ms"
    )


def _submissions(platform: Platform, options: argparse.Namespace) -> int:
    platform.serve(options.processes)
    for seconds, told in ((min(options.seconds, 5), False), (options.seconds, True)):
        before = platform.cpu_seconds()
        found = asyncio.run(measures.submissions(platform.port, options.per_s, seconds, 32))
        used = platform.cpu_seconds() - before
        if told:
            count = len(found.times)
            rate = f"{count / found.took_s:.0f}/s (asked for {options.per_s:g}/s) by {options.processes} processes"
            print(f"submissions: {count:,} in {found.took_s:.1f} s, {rate}, {_times(found.times)}, "
                  f"refused {len(found.refused)}")  # fmt: skip
            print(f"  CPU for each: {_each(used, count)}", flush=True)
            print("".join(f"  refused: {text}\n" for text in found.refused[:3]), end="", flush=True)
    return len(found.refused)


def _each(used: Counter[str], count: int) -> str:
    return ", ".join(f"{name} {seconds * 1000 / count:.2f} ms" for name, seconds in used.items())


def _watchers(platform: Platform, options: argparse.Namespace) -> int:
    platform.serve(processes=1)
    jobs = watching.running_jobs(platform.database, 10)
    before, memory = platform.cpu_seconds(), platform.memory_bytes()
    found, reports = asyncio.run(
        watching.watch(platform.port, jobs, options.watchers, platform.database, options.seconds, 2.0)
    )
    used = platform.cpu_seconds() - before
    late = [value for watched in found for value in watched.late]
    wrong = sum(watched.rows != list(range(reports)) for watched in found)
    print(f"watchers: {len(found)} streams of {len(jobs)} jobs, {reports} rows each, {len(late) / options.seconds:.0f} "
          f"rows/s sent, late by {_times(late)}; {wrong} streams with rows lost, doubled or out of order")  # fmt: skip
    share, grown = used["control plane"] / options.seconds, (platform.memory_bytes() - memory) / 2**20
    print(f"  control plane: {share:.0%} of a core, {grown:.0f} MiB more", flush=True)
    return wrong


def _claims(platform: Platform, options: argparse.Namespace) -> int:
    count = claiming.queue(platform.database, options.claims)
    found = claiming.claims(platform.settings.database_url, options.workers)
    missed = claiming.wrong(platform.database, count)
    print(f"claims: {found.count:,} by {found.workers} workers in {found.took_s:.1f} s, "
          f"{found.count / found.took_s:.0f}/s; claimed twice {found.doubled}, rows that say otherwise {missed}",
          flush=True)  # fmt: skip
    return found.doubled + missed


def _starts(platform: Platform, options: argparse.Namespace) -> int:
    """From the submission to the claim by an idle worker; the jobs fail soon, their dataset is empty."""
    with platform.database.session() as session:
        session.execute(update(Job).where(Job.state.in_(["queued", "running"])).values(state="cancelled"))
    platform.start_worker()
    took = asyncio.run(_start(platform, options.starts))
    print(f"starts: {len(took)} jobs, submitted to running: {_times(took)}", flush=True)
    return options.starts - len(took)


async def _start(platform: Platform, count: int) -> list[float]:
    connection, took = Connection(platform.port, KEY), []
    for _ in range(count):
        began = time.time()
        reply = await connection.ask("POST", "/v1/jobs", measures.SUBMISSION | {"max_attempts": 1})
        job_id = reply.json()["id"]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = (await connection.ask("GET", f"/v1/jobs/{job_id}")).json()["state"]
            if state in {"failed", "succeeded"}:
                break
            await asyncio.sleep(0.05)
        with platform.database.reading() as session:
            running = session.scalars(
                select(func.min(JobEvent.at)).where(JobEvent.job_id == job_id, JobEvent.type == "running")
            ).one()
        if running is not None:
            took.append((running.timestamp() - began) * 1000)
    connection.close()
    return took


if __name__ == "__main__":
    sys.exit(main())
