"""Runs of the garbage collector as rows: who asked for one, who carries it out, how far it is, what it has found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.core.errors import Conflict, NotFound
from services.core.ids import new_id
from services.core.jobs import changed
from services.core.tables import Dataset, GcFinding, GcRun, JobArtifact, ModelFile
from services.core.tables.base import now

# a collector renews its lease with every page; one that is silent so long has died
LEASE = timedelta(minutes=5)
# a run that has lost its collector so often is given up
ATTEMPTS = 3
# ended runs that stay to be looked at
REMEMBERED = 50
_UNFINISHED = ("queued", "running")


class Stopped(Exception):
    """The run was cancelled, or another collector has it."""


@dataclass(frozen=True)
class Asked:
    """What a run does. Only what is older than `grace_s` seconds is removed, and nothing when it would be more than
    `max_fraction` of all objects.
    """

    dry_run: bool
    grace_s: float
    keep_checkpoints: int | None
    max_fraction: float


def start(session: Session, asked: Asked, created_by: str) -> GcRun:
    """Queue a run; the sweeper's process carries it out. Conflict while another one is not over."""
    run = GcRun(
        id=new_id("gc"), unfinished=1, dry_run=asked.dry_run, grace_s=asked.grace_s,
        keep_checkpoints=asked.keep_checkpoints, max_fraction=asked.max_fraction,
        created_by=created_by, expected=_expected(session),
    )  # fmt: skip
    try:
        with session.begin_nested():
            session.add(run)
    except IntegrityError:
        other = session.scalars(select(GcRun.id).where(GcRun.unfinished.is_not(None))).first()
        which = f"the run {other}" if other else "a run"
        raise Conflict(f"{which} of the garbage collector is not over yet; wait for it, or cancel it") from None
    kept = select(GcRun.id).order_by(GcRun.created_at.desc()).limit(REMEMBERED)
    session.execute(delete(GcRun).where(GcRun.unfinished.is_(None), GcRun.id.not_in(kept)))
    return run


def _expected(session: Session) -> int:
    """About how many objects there are."""
    counts = (func.sum(Dataset.file_count), func.count(ModelFile.seq), func.count(JobArtifact.key))
    return sum(int(session.scalars(select(count)).one() or 0) for count in counts)


def get(session: Session, run_id: str) -> GcRun:
    """The run, or NotFound."""
    found = session.get(GcRun, run_id)
    if found is None:
        raise NotFound(f"there is no run of the garbage collector {run_id}")
    return found


def known(session: Session) -> Sequence[GcRun]:
    """All runs that are remembered, newest first."""
    return session.scalars(select(GcRun).order_by(GcRun.created_at.desc(), GcRun.id.desc())).all()


def findings(session: Session, run_id: str, after: int, limit: int) -> Sequence[GcFinding]:
    """What a run has found, in order, after the row `after`."""
    mine = select(GcFinding).where(GcFinding.run_id == run_id, GcFinding.seq > after)
    return session.scalars(mine.order_by(GcFinding.seq).limit(limit)).all()


def cancel(session: Session, run_id: str) -> GcRun:
    """Have a run end: at once if it is queued, else after the page that it is at. Conflict when it is over."""
    ended: dict[str, Any] = {"state": "cancelled", "unfinished": None, "finished_at": now()}
    mine = update(GcRun).where(GcRun.id == run_id)
    if changed(session, mine.where(GcRun.state == "queued").values(**ended)) == 0:
        changed(session, mine.where(GcRun.state == "running").values(stop=True))
    run = get(session, run_id)
    session.refresh(run)
    if run.state in {"succeeded", "failed"}:
        raise Conflict(f"the run {run_id} has already {run.state}; it cannot be cancelled")
    return run


def take(session: Session, moment: datetime) -> GcRun | None:
    """Claim the run that waits, or whose collector has died: it begins anew. None when there is none."""
    lost = and_(GcRun.state == "running", GcRun.lease_until < moment)
    waits = or_(GcRun.state == "queued", lost)
    run = session.scalars(select(GcRun).where(waits).with_for_update(skip_locked=True).limit(1)).first()
    if run is None:
        return None
    if run.fence >= ATTEMPTS:
        why = f"the process that carried it out has died {run.fence} times; see the log of the sweeper"
        finish(session, run.id, run.fence, "failed", error=why)
        return None
    session.execute(delete(GcFinding).where(GcFinding.run_id == run.id))
    run.state, run.fence, run.lease_until = "running", run.fence + 1, moment + LEASE
    run.started_at, run.stage = run.started_at or moment, "listing"
    run.listed, run.removed, run.removed_bytes, run.report = 0, 0, 0, {}
    session.flush()
    return run


def note(session: Session, run_id: str, fence: int, **values: Any) -> None:
    """Record how far a run is, and go on having it. Raises Stopped when it was cancelled or is another's."""
    mine = update(GcRun).where(GcRun.id == run_id, GcRun.fence == fence, GcRun.state == "running", ~GcRun.stop)
    if changed(session, mine.values(lease_until=now() + LEASE, **values)) == 0:
        raise Stopped


def add_findings(session: Session, rows: Iterable[GcFinding]) -> None:
    """Record what was found."""
    session.add_all(rows)
    session.flush()


def finish(session: Session, run_id: str, fence: int, state: str, **values: Any) -> bool:
    """End a run: succeeded, failed or cancelled. False when another collector has it."""
    mine = update(GcRun).where(GcRun.id == run_id, GcRun.fence == fence, GcRun.state == "running")
    ended = {"state": state, "unfinished": None, "lease_until": None, "finished_at": now()}
    return changed(session, mine.values(**ended, **values)) == 1
