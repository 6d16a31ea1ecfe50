"""Mending what time has broken: lost workers, waiting jobs, uploads that never came."""

from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from services.core import chunks, deployments, indexes, leftovers, once, served_names, uploads, workers
from services.core.attempts import end_badly
from services.core.failures import lost
from services.core.jobs import add_event, changed, needs
from services.core.lifecycle import State
from services.core.pipelines import records
from services.core.release import release
from services.core.scheduling import Ring, to_ring
from services.core.tables import Dataset, Job

# an upload that began before its URL expired may take that long
LATE_UPLOADS = timedelta(hours=1)


def sweep(session: Session, moment: datetime) -> list[Ring]:
    """Mend everything; safe to run twice, and twice at once. Returns the queued jobs to ring for, see `to_ring`.

    Expired leases become queued or failed, waiting jobs are released or fail with what they wait for,
    uploads that were never completed are forgotten, indexes follow their aliases, and what nobody owns is marked for
    removal.
    """
    expired = select(Job).where(Job.state == State.RUNNING, Job.lease_until < moment)
    for job in session.scalars(expired.with_for_update(skip_locked=True)).all():
        why, known = lost(session, job)
        end_badly(session, job, why, lost=known)
    while _settle_waiting(session, moment):
        continue
    records.tell(session)
    _forget_uploads(session, moment)
    uploads.expire(session, moment)
    deployments.settle(session, moment)
    leftovers.set_due(session, moment)
    once.forget(session, moment)
    served_names.free_unused(session, moment)
    indexes.follow_aliases(session)
    workers.mark_silent(session, moment)
    return to_ring(session, moment)


def _settle_waiting(session: Session, moment: datetime) -> int:
    """Release or fail waiting jobs; how many. Those that wait for a failed one come in the next round."""
    # a job that is shared out before its child jobs: locked in the order of those who cancel it
    in_order = select(Job.id).where(Job.state == State.WAITING).order_by(Job.parent_id.is_not(None), Job.id)
    waiting = session.scalars(in_order).all()
    settled = 0
    for job_id, found in needs(session, waiting).items():
        hopeless = [other for other, state in found.items() if state in {State.FAILED, State.CANCELLED}]
        guarded = update(Job).where(Job.id == job_id, Job.state == State.WAITING)
        if hopeless:
            # those that were cancelled may be so because of the one that has failed
            first = min(hopeless, key=lambda other: found[other] != State.FAILED)
            why = chunks.why_hopeless(session, job_id, first)
            if changed(session, guarded.values(state=State.FAILED, error=why, finished_at=moment)):
                add_event(session, job_id, 0, "failed", problem=why)
                chunks.end_all(session, job_id)
                settled += 1
        elif all(state == State.SUCCEEDED for state in found.values()) and release(session, job_id):
            settled += 1
    return settled


def _forget_uploads(session: Session, moment: datetime) -> None:
    expired = select(Dataset).where(Dataset.state == "uploading", Dataset.expires_at < moment)
    for dataset in session.scalars(expired.with_for_update(skip_locked=True)).all():
        leftovers.add(session, f"{dataset.prefix}/", watch_until=moment + LATE_UPLOADS)
        uploads.end_of_dataset(session, dataset.id)
        session.execute(delete(Dataset).where(Dataset.id == dataset.id))
