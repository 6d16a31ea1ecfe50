"""Failed attempts, explained: why, the last log lines, what to try."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.core.advice import advice
from services.core.jobs import problem
from services.core.tables import Job, JobLog, Worker

LINES = 20
LINE_LIMIT = 500


def explained(session: Session, job: Job, why: dict[str, Any], again: bool = False) -> dict[str, Any]:
    """The problem document with `log`, the last lines of the attempt, and `advice`, what to try."""
    return why | {"log": last_lines(session, job), "advice": advice(job, why, again)}


def last_lines(session: Session, job: Job) -> list[str]:
    """The last LINES log lines of the job's present attempt, in order, each cut to LINE_LIMIT characters."""
    newest = (
        select(JobLog.level, JobLog.message).where(JobLog.job_id == job.id, JobLog.attempt == job.attempt)
        .order_by(JobLog.seq.desc()).limit(LINES)
    )  # fmt: skip
    return [f"{level}: {text}"[:LINE_LIMIT] for level, text in reversed(session.execute(newest).all())]


def lost(session: Session, job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a job whose lease ran out: the problem document, and what is known of its worker, for the job's events."""
    worker = session.get(Worker, job.worker) if job.worker else None
    lines = last_lines(session, job)
    known = {
        "worker": job.worker, "host": worker.host if worker else None,
        "last_heartbeat": _iso(worker.seen_at if worker else None), "lease_until": _iso(job.lease_until),
        "done": job.done, "total": job.total, "doing": job.message, "checkpoint_step": job.checkpoint_step,
        "last_log": lines[-1] if lines else None,
    }  # fmt: skip
    parts = [f"the worker {job.worker} fell silent and its lease ran out at {_words(job.lease_until)}"]
    if worker is not None:
        parts.append(f"it was last heard of at {_words(worker.seen_at)}")
    if job.total:
        parts.append(f"{job.done or 0} of {job.total} were done ({job.message or 'at work'})")
    else:
        parts.append("it had not told of any progress")
    kept = job.checkpoint_step
    parts.append(f"the last known checkpoint is of step {kept}" if kept is not None else "no checkpoint is known")
    return problem("Worker lost", "; ".join(parts), "lost_worker"), known


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _words(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "an unknown time"
