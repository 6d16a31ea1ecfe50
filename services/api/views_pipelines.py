"""Pipelines as the API shows them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from services.api.schemas import JobOut
from services.api.schemas_pipelines import PipelineOut, PipelineProgress, StepOut
from services.api.views import job_views
from services.core.lifecycle import TERMINAL, State
from services.core.pipelines import records
from services.core.pipelines.links import in_order, links
from services.core.pipelines.states import together
from services.core.tables import Pipeline, PipelineStep

Wanted = frozenset[str]
# what is known without the steps
_OWN = Wanted({"id", "project_id", "name", "notes", "rerun_of", "curriculum", "created_by", "created_at"})
_JOB_FIELDS = Wanted({"progress", "reason", "children", "result", "error"})
_EVERY_FIELD = Wanted(PipelineOut.model_fields)
GONE = "deleted"
_JOB_ID = re.compile(r"job_\w+")


def pipeline_view(session: Session, row: Pipeline, quota: int | None = None) -> PipelineOut:
    """A pipeline with its steps."""
    return pipeline_views(session, [row], quota=quota)[0]


def pipeline_views(session: Session, rows: Sequence[Pipeline], wanted: Wanted = _EVERY_FIELD,
                   quota: int | None = None) -> list[PipelineOut]:  # fmt: skip
    """Pipelines, with few queries more for the jobs of all; where none of them is wanted, nothing is read of them."""
    if not wanted - _OWN:
        return [PipelineOut.model_construct(**_own(row)) for row in rows]
    steps = records.steps_of(session, [row.id for row in rows])
    found = records.jobs_of(session, steps)
    views = {view.id: view for view in job_views(session, list(found.values()), _JOB_FIELDS, quota)}
    return [_view(row, steps[row.id], views) for row in rows]


def _own(row: Pipeline) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _OWN}


def _view(row: Pipeline, steps: Sequence[PipelineStep], jobs: Mapping[str, JobOut]) -> PipelineOut:
    names = {step.job_id: step.name for step in steps}
    shown = [_step(step, jobs.get(step.job_id), names) for step in steps]
    state = together(step.state for step in shown)
    own = [step for step in shown if not step.reused]
    started = [step.started_at for step in own if step.started_at is not None]
    ended = [step.finished_at for step in own if step.finished_at is not None]
    return PipelineOut(
        **_own(row), state=state.value, progress=_progress(shown, state), steps=shown,
        started_at=min(started, default=None), finished_at=max(ended, default=None) if state in TERMINAL else None,
    )  # fmt: skip


def needs_of(asked: Mapping[str, Any]) -> list[str]:
    """The steps and jobs that a step waits for."""
    taken, _ = links(str(asked.get("kind")), asked.get("spec") or {})
    return list(dict.fromkeys([*(link.step for link in taken), *asked.get("depends_on", [])]))


def _step(step: PipelineStep, job: JobOut | None, names: Mapping[str, str]) -> StepOut:
    """A step as it is shown; `names` are those of the pipeline's steps by their jobs."""
    outputs = (job.result or {}).get("outputs", {}) if job else {}
    return StepOut(
        name=step.name, kind=step.asked.get("kind", ""), state=job.state if job else GONE, job_id=step.job_id,
        reused=step.reused, depends_on=needs_of(step.asked), spec=step.asked.get("spec", {}), outputs=outputs,
        progress=job.progress if job else None, reason=_in_words(job, names), error=job.error if job else None,
        expected_s=step.expected_s, earlier_jobs=step.earlier or [], started_at=job.started_at if job else None,
        finished_at=job.finished_at if job else None,
    )  # fmt: skip


def _in_words(job: JobOut | None, names: Mapping[str, str]) -> str | None:
    """What a step waits for, other steps by their names."""
    if job is None or job.reason is None:
        return None
    return _JOB_ID.sub(lambda found: names.get(found[0], found[0]), job.reason)


def _progress(steps: Sequence[StepOut], state: State) -> PipelineProgress:
    done = sum(step.state == State.SUCCEEDED for step in steps)
    shares = [1.0 if s.state == State.SUCCEEDED else s.progress.fraction if s.progress else 0.0 for s in steps]
    at_work = [
        f"{s.name}: {(s.progress.message if s.progress else None) or 'at work'}" for s in steps
        if s.state == State.RUNNING
    ]  # fmt: skip
    words = [f"{done} of {len(steps)} steps {'is' if done == 1 else 'are'} done", *at_work[:3]]
    return PipelineProgress(
        done=done, total=len(steps), fraction=sum(shares) / len(steps) if steps else 1.0, message="; ".join(words),
        eta_s=None if state in TERMINAL else _time_left(steps),
    )  # fmt: skip


def _time_left(steps: Sequence[StepOut]) -> float | None:
    """Seconds along the longest way through what is left; None while nobody knows of one."""
    by_name = {step.name: step for step in steps}
    ends: dict[str, float] = {}
    order, _ = in_order({step.name: step.depends_on for step in steps})
    for name in order:
        step = by_name[name]
        left = 0.0 if step.state in TERMINAL else _left(step)
        if left is None:
            return None
        ends[name] = left + max((ends[other] for other in step.depends_on if other in ends), default=0.0)
    return max(ends.values(), default=None)


def _left(step: StepOut) -> float | None:
    progress = step.progress
    if step.state == State.RUNNING and progress is not None and progress.eta_s is not None:
        return progress.eta_s
    if step.expected_s is None:
        return None
    return step.expected_s * (1 - (progress.fraction if progress else 0.0))
