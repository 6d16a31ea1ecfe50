"""The state of a pipeline: that of the jobs of its steps together."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, case, func, select

from services.core.lifecycle import TERMINAL, State
from services.core.tables import Job, Pipeline, PipelineStep

# of a pipeline that has not ended, the first of these that a step is in; one that is between two steps waits
_OPEN = (State.RUNNING, State.QUEUED, State.PAUSED, State.WAITING)
# of one that has ended
_OVER = (State.FAILED, State.CANCELLED, State.SUCCEEDED)
_IN_TURN = (*_OPEN, *_OVER)
STATES = tuple(state.value for state in _IN_TURN)


def together(states: Iterable[str]) -> State:
    """The state of a pipeline whose steps' jobs are in these."""
    found = set(states)
    return next((state for state in _IN_TURN if state in found), State.SUCCEEDED)


def _rolled_up() -> Any:
    worst = func.min(case({state.value: number for number, state in enumerate(_IN_TURN)}, value=Job.state))
    return case({number: state.value for number, state in enumerate(_IN_TURN)}, value=worst)


def in_state(state: str) -> Select[Any]:
    """The pipelines in a state."""
    joined = select(PipelineStep.pipeline_id).join(Job, Job.id == PipelineStep.job_id)
    # one of its steps is in it: few of all that there ever were
    some = joined.where(Job.state == state)
    mine = joined.where(PipelineStep.pipeline_id.in_(some))
    return mine.group_by(PipelineStep.pipeline_id).having(_rolled_up() == state)


def newly_ended() -> Select[Any]:
    """The pipelines none of whose steps goes on, and that nobody has been told of: ids, projects, names, states."""
    columns = (Pipeline.id, Pipeline.project_id, Pipeline.name)
    joined = (
        select(*columns, _rolled_up().label("state")).join(PipelineStep, PipelineStep.pipeline_id == Pipeline.id)
        .join(Job, Job.id == PipelineStep.job_id).where(Pipeline.told.is_(None))
    )  # fmt: skip
    return joined.group_by(*columns).having(_rolled_up().in_([state.value for state in TERMINAL]))
