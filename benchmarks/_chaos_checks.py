"""What must hold once all faults are over. Every check returns the violations that it found."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from benchmarks._chaos_jobs import Ids
from benchmarks._chaos_users import Expected
from services.core import evaluations
from services.core.db import Database
from services.core.lifecycle import State, may_follow
from services.core.storage import ObjectStore
from services.core.tables import Dataset, Evaluation, Job, JobArtifact, JobEvent, Leftover, Model
from services.core.tables.base import now

Output = Dataset | Model | Evaluation


def jobs_by_name(session: Session) -> dict[str, list[Job]]:
    """All jobs, by the key that their user gave them as a name."""
    found: dict[str, list[Job]] = defaultdict(list)
    for job in session.scalars(select(Job)):
        found[job.name].append(job)
    return found


def submissions(jobs: Mapping[str, list[Job]], expected: Mapping[str, Expected]) -> list[str]:
    """Every acknowledged submission is there once, and nothing else."""
    wrong = [f"key {name} made {len(rows)} jobs" for name, rows in jobs.items() if len(rows) > 1]
    there = {row.id for rows in jobs.values() for row in rows}
    wrong += [f"{job_id} ({what.key}) was acknowledged and is lost" for job_id, what in expected.items()
              if job_id not in there]  # fmt: skip
    return wrong + [f"{job_id} exists, and nobody was told" for job_id in sorted(there - expected.keys())]


def ends(jobs: Iterable[Job], expected: Mapping[str, Expected]) -> list[str]:
    """Every job is in the state that it had to end in, for the true reason."""
    wrong = []
    for job in jobs:
        what = expected.get(job.id)
        reason = (job.error or {}).get("reason")
        if what is None:
            continue
        if job.state != what.state:
            wrong.append(f"{job.id} ({what.key}) is {job.state}, expected {what.state}; error: {job.error}")
        elif what.reason is not None and reason != what.reason:
            wrong.append(f"{job.id} ({what.key}) has failed because of {reason}, expected {what.reason}")
        if job.attempt > job.max_attempts:
            wrong.append(f"{job.id} had {job.attempt} attempts, {job.max_attempts} are allowed")
        if job.state != State.RUNNING and job.lease_until is not None:
            wrong.append(f"{job.id} is {job.state} and has a lease")
    return wrong


def history(job: Job, events: list[JobEvent], wrong_data: bool) -> list[str]:
    """The events of a job are a legal path to where it is; attempts and claims only go forward."""
    path = [event for event in events if event.type in set(State)]
    wrong = []
    if not path or State(path[0].type) not in {State.WAITING, State.QUEUED}:
        wrong.append(f"{job.id} began as {path[0].type if path else 'nothing'}")
    for before, after in pairwise(path):
        if not may_follow(State(before.type), State(after.type)):
            wrong.append(f"{job.id} went from {before.type} to {after.type} (event {after.seq})")
    if path and path[-1].type != job.state:
        wrong.append(f"{job.id} is {job.state}, its last event says {path[-1].type}")
    ended = Counter(event.type for event in path)
    if ended[State.SUCCEEDED] > 1:
        wrong.append(f"{job.id} succeeded {ended[State.SUCCEEDED]} times")
    if ended[State.RUNNING] != job.fence:
        wrong.append(f"{job.id} was claimed {ended[State.RUNNING]} times, its fence is {job.fence}")
    claims = [event.attempt for event in path if event.type == State.RUNNING]
    if claims != sorted(claims):
        wrong.append(f"{job.id} had attempts in the order {claims}")
    reasons = [event.data["problem"]["reason"] for event in events if event.type == "attempt_failed"]
    if reasons.count("code"):
        wrong.append(f"{job.id} broke with `code`: {[e.data for e in events if e.type == 'attempt_failed']}")
    if reasons.count("data") != (1 if wrong_data else 0):
        wrong.append(f"{job.id} failed {reasons.count('data')} times because of its data: {reasons}")
    return wrong


def outputs(jobs: Iterable[Job], made: Mapping[str, list[Output]], expected: Mapping[str, Expected],
            ids: Ids, by_id: Mapping[str, Output]) -> list[str]:  # fmt: skip
    """A job that has succeeded made one thing, the same as the undisturbed run, bit for bit; others made nothing."""
    wrong = []
    for job in jobs:
        found, what = made.get(job.id, []), expected.get(job.id)
        if len(found) != int(job.state == State.SUCCEEDED):
            wrong.append(f"{job.id} ({job.kind}) is {job.state} and has made {len(found)} things")
            continue
        if what is None or what.template is None or job.state != State.SUCCEEDED:
            continue
        known = by_id[ids[what.template]]
        if found[0].id not in (job.result or {}).get("outputs", {}).values():
            wrong.append(f"{job.id} has made {found[0].id}, its result says {job.result}")
        if _hashes(known) != _hashes(found[0]) or _scores(known) != _scores(found[0]):
            wrong.append(f"{job.id} ({what.key}, {what.template}) differs from the undisturbed run")
    return wrong


def _scores(output: Output) -> Any:
    return (output.info["metrics"], output.info["per_class"]) if isinstance(output, Evaluation) else None


def _prefix(output: Output) -> str:
    return evaluations.folder_of(output.id) if isinstance(output, Evaluation) else output.prefix


def _hashes(output: Output) -> dict[str, str]:
    """SHA-256 by path, without what names the datasets that it was made from."""
    return {
        file.path: file.sha256 for file in output.files
        if not file.path.endswith((".json", "patients.parquet"))
    }  # fmt: skip


def objects(store: ObjectStore, things: Iterable[Output], artifacts: set[str], ended_badly: Iterable[str]) -> list[str]:
    """Every object is owned by a row, every row has its object, and its content is the recorded one."""
    owned = {f"{_prefix(thing)}/{file.path}": file.sha256 for thing in things for file in thing.files}
    stored = set(store.list_keys(""))
    # of one that may be looked at; those of a job that has succeeded are of no use
    checkpoints = tuple(f"jobs/{job_id}/checkpoints/" for job_id in ended_badly)
    nobodys = {key for key in stored - owned.keys() - artifacts if not key.startswith(checkpoints)}
    wrong = [f"object {key} belongs to nothing" for key in sorted(nobodys)]
    wrong += [f"object {key} is missing" for key in sorted((owned.keys() | artifacts) - stored)]
    for key, sha256 in owned.items():
        if key in stored and hashlib.sha256(store.get_bytes(key)).hexdigest() != sha256:
            wrong.append(f"object {key} has other content than recorded")
    return wrong


def advance(database: Database) -> int:
    """Let the time pass for which removed prefixes are watched; the number that are left."""
    with database.session() as session:
        # everything that could still store something has ended
        session.execute(update(Leftover).values(remove_at=now(), watch_until=None))
        return len(session.scalars(select(Leftover.prefix)).all())


def leftovers(database: Database) -> list[str]:
    """The prefixes that are still reserved or watched."""
    with database.reading() as session:
        return list(session.scalars(select(Leftover.prefix)))


def folders(cache: Path) -> list[str]:
    """Work folders that somebody has left behind."""
    work = cache / "work"
    return [f"work folder {path.name} was left behind" for path in sorted(work.iterdir())] if work.is_dir() else []


def everything(database: Database, store: ObjectStore, expected: Mapping[str, Expected], ids: Ids) -> list[str]:
    """All checks of what is stored."""
    with database.reading() as session:
        by_name = jobs_by_name(session)
        rows = [job for found in by_name.values() for job in found]
        events: dict[str, list[JobEvent]] = defaultdict(list)
        for event in session.scalars(select(JobEvent).order_by(JobEvent.seq)):
            events[event.job_id].append(event)
        things: list[Output] = [
            *session.scalars(select(Dataset).options(selectinload(Dataset.files))),
            *session.scalars(select(Model).options(selectinload(Model.files))),
            *session.scalars(select(Evaluation).options(selectinload(Evaluation.files))),
        ]
        made: dict[str, list[Output]] = defaultdict(list)
        for thing in things:
            if thing.job_id is not None:
                made[thing.job_id].append(thing)
        by_id = {thing.id: thing for thing in things}
        wrong = submissions(by_name, expected) + ends(rows, expected)
        for job in rows:
            what = expected.get(job.id)
            wrong += history(job, events[job.id], what is not None and what.reason == "data")
        wrong += outputs(rows, made, expected, ids, by_id)
        artifacts = set(session.scalars(select(JobArtifact.key)))
        ended_badly = session.scalars(select(Job.id).where(Job.state.in_([State.FAILED, State.CANCELLED]))).all()
    return wrong + objects(store, things, artifacts, ended_badly)
