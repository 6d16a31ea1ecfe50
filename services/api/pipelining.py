"""Pipelines on their way into the database: looked at as a whole, recorded as a whole, and tried again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from services.api.dependencies import Parts
from services.api.planning import plan, refusal_order
from services.api.problems import MOST_ERRORS, in_words
from services.api.schemas_pipelines import PipelineOut, StepRequest
from services.api.views import job_views
from services.api.views_pipelines import pipeline_view
from services.core import jobs, once
from services.core.errors import Conflict, FieldError, ValidationFailed
from services.core.lifecycle import TERMINAL, State
from services.core.once import Answer, Ticket
from services.core.pipelines import keys, records
from services.core.pipelines.forecasts import durations
from services.core.pipelines.links import transitive
from services.core.pipelines.plans import Done, Plan, examine, submit
from services.core.tables import Job, Pipeline, PipelineStep


@dataclass(frozen=True)
class Asked:
    """What a pipeline is called and where it comes from."""

    name: str
    notes: str = ""
    rerun_of: str | None = None
    curriculum: dict[str, Any] | None = None
    reuse: bool = False


def record(parts: Parts, made: Plan, asked: Asked, owner: str, ticket: Ticket | None = None,
           along: Callable[[Session, Pipeline], None] | None = None) -> PipelineOut | Answer:  # fmt: skip
    """Record a pipeline with its jobs, or find the answer that was given before; ValidationFailed names all errors.
    `along` is done in the same transaction: what it raises, leaves nothing.
    """
    expected_s = durations(parts.database, made, owner, parts.settings.quota_running)
    with parts.database.session() as session:
        known = once.find(session, ticket) if ticket else None
        if known is not None:
            return known
        known_keys = _fits(session, made, owner, reuse=asked.reuse)
        submit(session, made, owner, parts.settings.quota_queued)
        row = records.record(
            session, made, owner, name=asked.name, notes=asked.notes, rerun_of=asked.rerun_of,
            curriculum=asked.curriculum, expected_s=expected_s, keys=known_keys,
        )  # fmt: skip
        if along is not None:
            along(session, row)
        shown = pipeline_view(session, row, parts.settings.quota_running)
        if ticket:
            once.keep(session, ticket, Answer(201, shown.model_dump_json()), row.id)
    return shown


def _fits(session: Session, made: Plan, owner: str, *, reuse: bool = False) -> dict[str, str | None]:
    """The keys of the steps whose inputs are there; with `reuse`, those that have been done before are so in the plan.
    ValidationFailed, or Conflict where nothing but dependencies is wrong, when the plan cannot be recorded.
    """
    before, found_keys = len(made.errors), dict[str, str | None]()
    for name, found in examine(session, made, owner, hold=True):
        step = made.steps[name]
        key = found_keys[name] = keys.key_of(session, step.asked, found) if keys.is_reusable(step.asked.kind) else None
        if reuse and key is not None and (done := keys.find(session, made.project_id, key)) is not None:
            made.finish(name, done)
    if made.errors:
        errors = refusal_order(made.errors, made.steps)
        conflict = before == 0 and all(e.pointer.endswith("/depends_on") for e in errors)
        detail = in_words(errors[:MOST_ERRORS], len(errors))
        raise (Conflict if conflict else ValidationFailed)(detail, errors[:MOST_ERRORS])
    return found_keys


def retry(session: Session, parts: Parts, row: Pipeline) -> Pipeline:
    """Submit the steps of a locked pipeline again that have failed or were cancelled, each from its last checkpoint
    where it has one, and those behind them. Conflict when there are none.
    """
    steps = {step.name: step for step in row.steps}
    found = records.jobs_of(session, {row.id: row.steps})
    lost = [name for name, step in steps.items() if _is_lost(found.get(step.job_id))]
    if not lost:
        raise Conflict(f"no step of pipeline {row.id} has failed or was cancelled; there is nothing to try again")
    made = plan({name: StepRequest.model_validate(step.asked) for name, step in steps.items()}, row.project_id,
                parts.settings)  # fmt: skip
    again = transitive(lost, {name: step.needs for name, step in made.steps.items()})
    waiting = {steps[name].job_id for name in again} - {step.job_id for step in steps.values() if step.reused}
    jobs.cancel_all(session, [job for job in records.open_jobs(session, row)
                              if job.id in waiting or job.parent_id in waiting])  # fmt: skip
    for name in made.order:
        if name not in again:
            _go_on(made, name, steps[name], found[steps[name].job_id])
    found_keys = _fits(session, made, row.created_by)
    rows = submit(session, made, row.created_by, parts.settings.quota_queued)
    for name in again:
        step = steps[name]
        records.goes_on(found.get(step.job_id), rows[name])
        step.earlier, step.job_id = [*step.earlier, step.job_id], made.steps[name].job_id
        step.reused, step.key = False, found_keys.get(name)
    row.told = None
    session.flush()
    return row


def _is_lost(job: Job | None) -> bool:
    return job is None or job.state in {State.FAILED, State.CANCELLED}


def _go_on(made: Plan, name: str, step: PipelineStep, job: Job) -> None:
    """A step stays as it is: done, or in the hands of its job."""
    if job.state == State.SUCCEEDED:
        made.finish(name, Done(job.id, (job.result or {}).get("outputs", {}), step.key))
    else:
        made.keep(name, job.id)


def repeated(row: Pipeline, changes: Mapping[str, Mapping[str, Any]]) -> dict[str, StepRequest]:
    """The steps of a pipeline with other fields in some specs. ValidationFailed names a step that there is not."""
    steps = {step.name: dict(step.asked) for step in row.steps}
    there_are = f"the steps of pipeline {row.id} are {', '.join(steps)}"
    unknown = [FieldError(f"/changes/{name}", f"there is no step '{name}'; {there_are}")
               for name in changes if name not in steps]  # fmt: skip
    if unknown:
        raise ValidationFailed("; ".join(e.detail for e in unknown), unknown)
    for name, change in changes.items():
        steps[name]["spec"] = steps[name]["spec"] | change
    return {name: StepRequest.model_validate(step) for name, step in steps.items()}


async def ring(parts: Parts, pipeline_id: str) -> None:
    """Tell the workers of the steps that wait for none."""
    await parts.desk.ring(*await run_in_threadpool(_unfinished, parts, pipeline_id))


def _unfinished(parts: Parts, pipeline_id: str) -> list[Any]:
    with parts.database.reading() as session:
        found = records.jobs_of(session, records.steps_of(session, [pipeline_id]))
        rows = [row for row in found.values() if row.state not in TERMINAL]
        return list(job_views(session, rows, frozenset({"children"})))
