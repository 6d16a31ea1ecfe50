"""Queue jobs that wait for nothing any more: what they name is there now, and is looked at once more."""

from collections.abc import Mapping

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from services.core import chunks, deployments, inputs, pending
from services.core.jobs import NewJob, add_event, changed, problem
from services.core.lifecycle import State
from services.core.pipelines import keys
from services.core.specs import Reference, references, with_ids
from services.core.tables import Job, JobInput
from services.core.tables.base import now, table_of


def release(session: Session, job_id: str) -> bool:
    """Queue a waiting job whose dependencies have succeeded, with the identifiers of what they have made in its spec;
    or let it fail when that does not fit. False when it waits no longer: of several at once, one does it.
    """
    columns = (Job.kind, Job.spec, Job.name, Job.project_id, Job.max_attempts, Job.gpus, Job.nodes)
    mine = select(*columns).where(Job.id == job_id, Job.state == State.WAITING)
    row = session.execute(mine.with_for_update()).one_or_none()
    if row is None:
        return False
    waited = pending.pending(row.kind, row.spec)
    ids = pending.made(session, waited) if waited else {}
    asked = NewJob(row.kind, with_ids(row.kind, row.spec, ids), row.name, row.max_attempts, row.project_id,
                   gpus=row.gpus, nodes=row.nodes)  # fmt: skip
    wrong = _missing(waited, ids)
    if waited and not wrong:
        found = inputs.find(session, asked, hold=True)
        wrong = [f"{e.pointer.removeprefix('/spec/')}: {e.detail}" for e in found.errors]
        if not wrong:
            keys.remember(session, job_id, asked, found)
    if wrong:
        _fail(session, job_id, "; ".join(wrong))
        return True
    changed(session, update(Job).where(Job.id == job_id).values(state=State.QUEUED, spec=asked.spec))
    named = {one.id: one.resource for one in references(asked.kind, asked.spec) if one.id in ids.values()}
    if named:
        rows = [{"job_id": job_id, "input_id": name, "resource": resource} for name, resource in named.items()]
        session.execute(insert(table_of(JobInput)), rows)
    if row.kind == "export":
        # what it serves is known now
        deployments.announce(session, session.get_one(Job, job_id, populate_existing=True))
    add_event(session, job_id, 0, "queued", **({"inputs": ids} if ids else {}))
    return True


def _missing(waited: Mapping[str, Reference], ids: Mapping[str, str]) -> list[str]:
    """What a job lacks of what it has waited for."""
    return [f"{one.field}: {pending.maker_of(name)} has made no {one.resource}" for name, one in waited.items()
            if name not in ids]  # fmt: skip


def _fail(session: Session, job_id: str, detail: str) -> None:
    """What it was given does not fit: another attempt would end alike."""
    why = problem("Input that cannot be used", detail, "data")
    why |= {"log": [], "advice": ["change the step that makes it, or this one, and run the pipeline again"]}
    changed(session, update(Job).where(Job.id == job_id).values(state=State.FAILED, error=why, finished_at=now()))
    add_event(session, job_id, 0, "failed", problem=why)
    chunks.end_all(session, job_id)
