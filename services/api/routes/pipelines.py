"""Pipelines: submit, watch, stop, try again."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Request, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.once import again, ticket_of
from services.api.pipelining import Asked, record, repeated, retry, ring
from services.api.planning import check_size, plan, promised, steps_of
from services.api.problems import responses
from services.api.schemas_pipelines import ExpandedOut, PipelineOut, PipelineRequest, RerunRequest
from services.api.views_pipelines import pipeline_view, pipeline_views
from services.core import projects
from services.core.lists import PIPELINES
from services.core.once import Answer
from services.core.pipelines import records
from services.core.tables import Pipeline

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])
expanding = APIRouter(prefix="/v1", tags=["pipelines"])
_ENDED = responses(conflict="The pipeline has ended")


@router.post(
    "", status_code=201, response_model=PipelineOut,
    responses=responses(conflict="A dependency has failed", too_large="More steps than a pipeline may have"),
)  # fmt: skip
def submit_pipeline(
    request: PipelineRequest, http: Request, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> PipelineOut | Response:
    """Record a pipeline with the jobs of all its steps in one transaction, or none of them.

    It is checked as a whole: references to steps that there are not, circles, outputs that do not go into their field,
    and every step's spec. A step waits until what it takes is there; then its spec gets the identifiers, once.
    """
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
        steps = steps_of(session, request, caller.scope, project_id)
    check_size(steps, parts.settings)
    given = request.curriculum
    asked = Asked(
        request.name or ("pipeline" if given is None else "curriculum"), request.notes, reuse=request.reuse,
        curriculum=None if given is None else given.model_dump(mode="json", exclude_unset=True),
    )  # fmt: skip

    def make() -> PipelineOut | Answer:
        made = plan(steps, project_id, parts.settings, promised(request))
        return record(parts, made, asked, caller.owner, ticket_of(http))

    try:
        made = make()
    except IntegrityError:
        # the same key came in twice at the same moment: the other one has won
        made = make()
    if isinstance(made, Answer):
        return again(made)
    background.add_task(ring, parts, made.id)
    return made


@expanding.post("/pipelines:expand")
def expand_pipeline(request: PipelineRequest, session: ReaderOf, caller: Operator) -> ExpandedOut:
    """The steps that a curriculum is expanded to, to look at or to change by hand; nothing is recorded or checked."""
    project_id = projects.resolve(session, caller.scope, request.project)
    steps = steps_of(session, request, caller.scope, project_id)
    return ExpandedOut(steps={name: step.model_dump(mode="json", exclude_unset=True) for name, step in steps.items()})


@router.get("", response_model=response_model(PipelineOut))
def list_pipelines(
    parts: PartsOf, session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(PIPELINES))]
) -> Response:
    """Pipelines, newest first unless `sort` says otherwise."""
    views = partial(pipeline_views, quota=parts.settings.quota_running)
    return answer(session, caller.scope, Shown(PIPELINES, PipelineOut, views), asked)


@router.get("/{pipeline_id}")
def show_pipeline(pipeline_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer) -> PipelineOut:
    """State, progress and time to go of a pipeline, and of each of its steps."""
    return _shown(session, parts, records.get(session, caller.scope, pipeline_id))


def _shown(session: Session, parts: Parts, row: Pipeline) -> PipelineOut:
    return pipeline_view(session, row, parts.settings.quota_running)


@router.post("/{pipeline_id}/cancel", responses=_ENDED)
def cancel_pipeline(pipeline_id: str, parts: PartsOf, caller: Operator) -> PipelineOut:
    """Cancel every step that has not ended; those that run write a checkpoint and end within moments."""
    with parts.database.session() as session:
        return _shown(session, parts, records.cancel(session, caller.scope, pipeline_id))


@router.post("/{pipeline_id}/pause", responses=_ENDED)
def pause_pipeline(pipeline_id: str, parts: PartsOf, caller: Operator) -> PipelineOut:
    """Set every step aside that has not ended; those that run write a checkpoint and stop within moments."""
    with parts.database.session() as session:
        return _shown(session, parts, records.pause(session, caller.scope, pipeline_id))


@router.post("/{pipeline_id}/resume", responses=responses(conflict="It has ended, or the time limit of a job is over"))
def resume_pipeline(pipeline_id: str, parts: PartsOf, caller: Operator, background: BackgroundTasks) -> PipelineOut:
    """Let the paused steps go on, each from its last checkpoint."""
    with parts.database.session() as session:
        shown = _shown(session, parts, records.resume(session, caller.scope, pipeline_id))
    background.add_task(ring, parts, pipeline_id)
    return shown


@router.post("/{pipeline_id}/retry", responses=responses(conflict="No step has failed, or a dependency has"))
def retry_pipeline(pipeline_id: str, parts: PartsOf, caller: Operator, background: BackgroundTasks) -> PipelineOut:
    """Do the steps again that have failed or were cancelled, and those that wait for them; the others stay as they are.

    A new job begins with the last checkpoint of the one before (`continues`), unless that failed because of its data;
    those before are in the step's `earlier_jobs`.
    """
    with parts.database.session() as session:
        row = retry(session, parts, records.get(session, caller.scope, pipeline_id, lock=True))
        shown = _shown(session, parts, row)
    background.add_task(ring, parts, pipeline_id)
    return shown


@router.post(
    "/{pipeline_id}/rerun", status_code=201, responses=responses(conflict="A dependency has failed"),
)  # fmt: skip
def rerun_pipeline(
    pipeline_id: str, request: RerunRequest, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> PipelineOut:
    """Make a pipeline again with other parameters: a new one, in which no step is run that has the same inputs and the
    same spec as one which has succeeded. Pointers of errors lead into the steps as they are with the changes.
    """
    with parts.database.reading() as session:
        row = records.get(session, caller.scope, pipeline_id)
        steps = repeated(row, request.changes)
    asked = Asked(request.name or row.name, request.notes or row.notes, row.id, row.curriculum, request.reuse)
    made = record(parts, plan(steps, row.project_id, parts.settings), asked, caller.owner)
    assert isinstance(made, PipelineOut)
    background.add_task(ring, parts, made.id)
    return made


@router.delete("/{pipeline_id}", status_code=204, responses=responses(conflict="It has not ended"))
def delete_pipeline(pipeline_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Forget a pipeline that has ended; its jobs and what they have made stay, and can be deleted then."""
    with parts.database.session() as session:
        records.remove(session, caller.scope, pipeline_id)
    return Response(status_code=204)
