"""Deleting what nothing uses: datasets, models, deployments and jobs.

A row disappears at once; its objects are marked in the same transaction and removed by the sweeper. Whoever still
uses it is named in the refusal. Nothing can be forced.
"""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from services.core import deployments, leftovers, pending, uploads
from services.core.errors import Conflict, FieldError, ValidationFailed
from services.core.jobs import has_ended, open_children, request_cancel
from services.core.lifecycle import TERMINAL
from services.core.pipelines import records
from services.core.scope import EVERYTHING, Scope
from services.core.served_names import triton_name
from services.core.tables import (
    Alias,
    Base,
    Dataset,
    Deployment,
    Job,
    JobDependency,
    JobInput,
    Lineage,
    Model,
    SearchIndex,
)
from services.core.tables.base import now

# users of a kind that a refusal names
NAMED = 5


def delete_dataset(session: Session, scope: Scope, dataset_id: str, watch_s: float) -> None:
    """Remove a dataset; its files go with the next sweeps, and what arrives within `watch_s`, too.

    Conflict names the jobs, datasets and models that use it.
    """
    # locked: no job that names it can be submitted until this is done
    row = scope.get(session, Dataset, dataset_id, with_for_update=True)
    users = [*_jobs_with(session, dataset_id), *_awaiting(session, row), *_made_from(session, dataset_id)]
    _refuse("dataset", dataset_id, users)
    # URLs for its files open for as long
    uploads_end = now() + timedelta(seconds=watch_s) if row.role == "raw" else None
    leftovers.add(session, f"datasets/{dataset_id}/", watch_until=uploads_end)
    uploads.end_of_dataset(session, dataset_id)
    _forget_origin(session, dataset_id)
    session.delete(row)


def delete_model(session: Session, scope: Scope, model_id: str) -> None:
    """Remove a model; its files go with the next sweeps.

    Conflict names the jobs, deployments and aliases that use it, and what was made from it. ValidationFailed for an
    alias: a model is removed by its id alone, lest a name that was moved meanwhile removes another one.
    """
    if model_id.startswith("@"):
        name = model_id.removeprefix("@")
        detail = (
            f"'{model_id}' is an alias, and a model is removed by its id; GET /v1/models/{model_id} tells the id, "
            f"DELETE /v1/aliases/{name} gives the alias up and leaves the model"
        )
        raise ValidationFailed(detail, [FieldError("path:model_id", "expected an identifier like mdl_...")])
    row = scope.get(session, Model, model_id, with_for_update=True)
    aliases = select(Alias.name).where(Alias.model_id == model_id)
    served = select(Deployment.id).where(Deployment.model_id == model_id)
    users = [
        *_jobs_with(session, model_id),
        *_awaiting(session, row),
        *_named(session, "served as ", served),
        *(f"the alias @{name}" for name in session.scalars(aliases.limit(NAMED))),
        *_made_from(session, model_id),
    ]
    _refuse("model", model_id, users)
    leftovers.add(session, f"models/{model_id}/")
    _forget_origin(session, model_id)
    session.delete(row)


def delete_deployment(session: Session, scope: Scope, deployment_id: str, drain_s: float = 0) -> None:
    """Stop serving a version: calls of its name are answered by the one that was activated before. An export that is
    under way is cancelled.

    The sweeper takes it out of Triton and removes its files, after `drain_s`: requests that it has begun to answer are
    answered. Its number is not given again.
    """
    row = scope.get(session, Deployment, deployment_id)
    # locked before the version is, as by the attempt that ends
    job = session.get(Job, row.job_id, with_for_update=True) if row.job_id else None
    row = scope.get(session, Deployment, deployment_id, with_for_update=True, populate_existing=True)
    exporting = job is not None and row.state == deployments.LOADING and not has_ended(job)
    if job is not None and exporting:
        request_cancel(session, EVERYTHING, job.id)
    # what an attempt is still storing is its reservation's matter
    if row.version is not None and not exporting:
        leftovers.add(session, f"triton/{triton_name(row.name, row.version)}/", after_s=drain_s)
    session.delete(row)


def delete_job(session: Session, scope: Scope, job_id: str) -> None:
    """Remove a job that has ended, with its child jobs, all that they have reported and their artifacts; what it made
    stays.

    Conflict when it has not ended, or names the jobs that still wait for it, the child jobs that still run, or the
    pipelines of which it is a step.
    """
    row = scope.get(session, Job, job_id, with_for_update=True)
    if not has_ended(row):
        raise Conflict(f"job {job_id} is {row.state}; cancel it first, then it can be deleted")
    waiting = select(JobDependency.job_id).join(Job, Job.id == JobDependency.job_id)
    waiting = waiting.where(JobDependency.needs_id == job_id, Job.state.not_in(TERMINAL))
    _refuse("job", job_id, list(_named(session, "needed by ", waiting)))
    going_on = select(Job.id).where(Job.continues == job_id, Job.state.not_in(TERMINAL))
    _refuse("job", job_id, list(_named(session, "its checkpoints are gone on from by ", going_on)))
    _refuse("job", job_id, records.steps_with(session, job_id, NAMED))
    ending = [f"its child job {child.id} ({child.state})" for child in open_children(session, row)]
    _refuse("job", job_id, ending[:NAMED])
    children = select(Job.id).where(Job.parent_id == job_id)
    ids = [job_id, *(session.scalars(children).all() if row.children else [])]
    for table in reversed(Base.metadata.sorted_tables):
        mine = [key.parent.in_(ids) for key in table.foreign_keys if key.column is Job.__table__.c.id]
        if mine:
            session.execute(delete(table).where(or_(*mine)))
    for each in ids:
        # a lost attempt may still be storing
        leftovers.add(session, f"jobs/{each}/", watch_until=now() + leftovers.LINGER)
    if len(ids) > 1:
        session.execute(delete(Job).where(Job.parent_id == job_id))
    session.delete(row)


def _named(session: Session, words: str, ids: Select[str]) -> Iterator[str]:
    return (f"{words}{row_id}" for row_id in session.scalars(ids.limit(NAMED)))


def _jobs_with(session: Session, input_id: str) -> Iterator[str]:
    """Jobs that have not ended and name it."""
    named = select(JobInput.job_id).where(JobInput.input_id == input_id)
    unfinished = select(Job.id, Job.state).where(Job.id.in_(named), Job.state.not_in(TERMINAL))
    return (f"job {job_id} ({state})" for job_id, state in session.execute(unfinished.limit(NAMED)))


def _awaiting(session: Session, row: Dataset | Model) -> Iterator[str]:
    """Jobs that are going to name it once they wait for nothing else."""
    if row.job_id is None:
        return
    following = select(JobDependency.job_id).where(JobDependency.needs_id == row.job_id)
    open_ones = select(Job.id, Job.kind, Job.spec).where(Job.id.in_(following), Job.state.not_in(TERMINAL))
    name = pending.stand_in("dataset" if isinstance(row, Dataset) else "model", row.job_id)
    for job_id, kind, spec in session.execute(open_ones):
        if name in pending.pending(kind, spec):
            yield f"job {job_id}, which waits for it"


def _made_from(session: Session, input_id: str) -> Iterator[str]:
    """What was made from it and is still there."""
    children = select(Lineage.child_id).where(Lineage.input_id == input_id)
    for noun, table in (("dataset", Dataset), ("model", Model)):
        made = select(table.id).where(table.id.in_(children))
        yield from _named(session, f"{noun} made from it: ", made)
    yield from _named(session, "the index ", select(SearchIndex.name).where(SearchIndex.id.in_(children)))


def _forget_origin(session: Session, child_id: str) -> None:
    session.execute(delete(Lineage).where(Lineage.child_id == child_id))


def _refuse(noun: str, row_id: str, users: list[str]) -> None:
    if users:
        raise Conflict(f"{noun} {row_id} is in use ({'; '.join(users)}); it can be deleted when nothing uses it")
