"""Pipelines as they are recorded: made, looked up, stopped, and told of when they have ended."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from services.core import jobs, outbox
from services.core.errors import Conflict
from services.core.ids import new_id
from services.core.lifecycle import TERMINAL, State
from services.core.pipelines.plans import Plan
from services.core.pipelines.states import newly_ended, together
from services.core.scope import Scope
from services.core.tables import Job, Pipeline, PipelineStep

Steps = Mapping[str, Sequence[PipelineStep]]


def record(session: Session, plan: Plan, owner: str, *, name: str, notes: str = "", rerun_of: str | None = None,
           curriculum: dict[str, Any] | None = None, expected_s: Mapping[str, float | None],
           keys: Mapping[str, str | None]) -> Pipeline:  # fmt: skip
    """Record a pipeline whose jobs have been submitted; `keys` are those of the steps whose inputs are there."""
    pipeline = Pipeline(
        id=new_id("pip"), project_id=plan.project_id, name=name, notes=notes, created_by=owner, rerun_of=rerun_of,
        curriculum=curriculum,
    )  # fmt: skip
    for position, (step_name, step) in enumerate(plan.steps.items()):
        done = plan.done.get(step_name)
        pipeline.steps.append(
            PipelineStep(
                name=step_name, position=position, asked=step.given, job_id=done.job_id if done else step.job_id,
                reused=done is not None, key=keys.get(step_name), expected_s=expected_s.get(step_name),
                earlier=[],
            )
        )  # fmt: skip
    session.add(pipeline)
    session.flush()
    return pipeline


def get(session: Session, scope: Scope, pipeline_id: str, *, lock: bool = False) -> Pipeline:
    """The pipeline, or NotFound."""
    options = {"with_for_update": True, "populate_existing": True} if lock else {}
    return scope.get(session, Pipeline, pipeline_id, **options)


def steps_of(session: Session, pipeline_ids: Sequence[str]) -> dict[str, list[PipelineStep]]:
    """The steps of pipelines, in their order."""
    found: dict[str, list[PipelineStep]] = {pipeline_id: [] for pipeline_id in pipeline_ids}
    rows = session.scalars(select(PipelineStep).where(PipelineStep.pipeline_id.in_(found)))
    for row in sorted(rows, key=lambda row: row.position):
        found[row.pipeline_id].append(row)
    return found


def jobs_of(session: Session, steps: Steps) -> dict[str, Job]:
    """The jobs of steps by their ids; one that is not there is left out."""
    wanted = {step.job_id for mine in steps.values() for step in mine}
    return {row.id: row for row in session.scalars(select(Job).where(Job.id.in_(wanted)))}


def open_jobs(session: Session, pipeline: Pipeline) -> list[Job]:
    """The jobs of a pipeline's own steps that have not ended, and their child jobs, locked in the order in which
    everybody locks them.
    """
    mine = [step.job_id for step in pipeline.steps if not step.reused]
    unfinished = select(Job).where(Job.state.not_in(TERMINAL)).order_by(Job.id)
    locked = unfinished.with_for_update().execution_options(populate_existing=True)
    rows = list(session.scalars(locked.where(Job.id.in_(mine))))
    shared = [row.id for row in rows if row.children]
    return rows + (list(session.scalars(locked.where(Job.parent_id.in_(shared)))) if shared else [])


def _unfinished(session: Session, scope: Scope, pipeline_id: str, to_be: str) -> tuple[Pipeline, list[Job]]:
    pipeline = get(session, scope, pipeline_id, lock=True)
    rows = open_jobs(session, pipeline)
    if not rows:
        how = jobs.ended(state_of(session, pipeline))
        raise Conflict(f"pipeline {pipeline_id} has already {how}; it cannot be {to_be}")
    return pipeline, rows


def state_of(session: Session, pipeline: Pipeline) -> State:
    """The state of its jobs together."""
    ids = [step.job_id for step in pipeline.steps]
    return together(session.scalars(select(Job.state).where(Job.id.in_(ids))))


def cancel(session: Session, scope: Scope, pipeline_id: str) -> Pipeline:
    """Cancel every job that has not ended. Conflict when none is left."""
    pipeline, rows = _unfinished(session, scope, pipeline_id, "cancelled")
    jobs.cancel_all(session, rows)
    return pipeline


def pause(session: Session, scope: Scope, pipeline_id: str) -> Pipeline:
    """Set every job aside that has not ended. Conflict when none is left."""
    pipeline, rows = _unfinished(session, scope, pipeline_id, "paused")
    jobs.pause_all(session, rows)
    return pipeline


def resume(session: Session, scope: Scope, pipeline_id: str) -> Pipeline:
    """Let every paused job go on. Conflict when all have ended, or when the time limit of one is over."""
    pipeline, rows = _unfinished(session, scope, pipeline_id, "resumed")
    jobs.resume_all(session, rows, pipeline.created_by)
    return pipeline


def goes_on(before: Job | None, again: Job) -> None:
    """Have a job that does a step again begin with the last checkpoint of the one before it, if there is one: the same
    spec, inputs included, and an end that its data were not the reason of. Data that are wrong, such as those that made
    a loss infinite, would be so from there, too.
    """
    if before is None or before.children or (before.kind, before.spec) != (again.kind, again.spec):
        return
    if (before.error or {}).get("reason") != "data":
        # one that no worker has taken has none of its own
        again.continues = before.id if before.fence else before.continues


def remove(session: Session, scope: Scope, pipeline_id: str) -> None:
    """Forget a pipeline; its jobs and what they have made stay. Conflict when it has not ended."""
    pipeline = get(session, scope, pipeline_id, lock=True)
    if open_jobs(session, pipeline):
        raise Conflict(f"pipeline {pipeline_id} has not ended; cancel it first, then it can be deleted")
    session.execute(delete(PipelineStep).where(PipelineStep.pipeline_id == pipeline_id))
    session.execute(delete(Pipeline).where(Pipeline.id == pipeline_id))


def steps_with(session: Session, job_id: str, limit: int) -> list[str]:
    """The steps that a job does, in words."""
    mine = select(PipelineStep.pipeline_id, PipelineStep.name).where(PipelineStep.job_id == job_id).limit(limit)
    return [f"step '{name}' of {pipeline_id}" for pipeline_id, name in session.execute(mine)]


def tell(session: Session) -> None:
    """Write to webhooks how pipelines have ended that nobody has been told of; each once."""
    for pipeline_id, project_id, name, state in session.execute(newly_ended()).all():
        mine = update(Pipeline).where(Pipeline.id == pipeline_id, Pipeline.told.is_(None)).values(told=state)
        if jobs.changed(session, mine):
            about = {"pipeline_id": pipeline_id, "project_id": project_id, "name": name, "state": state}
            outbox.tell_project(session, project_id, f"pipeline.{state}", about)
