"""Erasures: mark what holds the data of a patient or a file, and make it anew without them."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Response
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.holding import found
from services.api.lists import Question, Shown, Wanted, answer, question, response_model
from services.api.pages import InProject
from services.api.pipelining import Asked, record, ring
from services.api.planning import check_size, plan
from services.api.problems import responses
from services.api.schemas_erasures import ErasureOut, ErasureRequest, RebuildRequest
from services.api.schemas_pipelines import PipelineOut, StepRequest
from services.core import erasures, projects
from services.core.errors import Conflict
from services.core.keys import Identity
from services.core.short_lists import ERASURES
from services.core.tables import Erasure, Pipeline

router = APIRouter(prefix="/v1/erasures", tags=["lineage"])
_NOTHING = responses(conflict="It is being made anew already, or nothing of it can be")


@router.post("", status_code=201)
def erase(
    request: ErasureRequest, parts: PartsOf, caller: Operator, background: BackgroundTasks, project: InProject = None
) -> ErasureOut:
    """Mark every dataset, buffer, model and deployment that holds the data of a patient or of a raw file. No alias
    moves to a marked model without an override. With `rebuild`, a pipeline makes them anew without the data; what is
    marked stays until it is deleted.
    """
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, project, "query:project")
    whose, held = found(parts, project_id, request)
    with parts.database.session() as session:
        erasure_id = erasures.record(session, project_id, whose, held, request.reason, caller.owner).id
    if request.rebuild is not None:
        _rebuild(parts, caller, erasure_id, request.rebuild, background, patient=False)
    with parts.database.reading() as session:
        return _shown(session, [erasures.get(session, caller.scope, erasure_id)])[0]


@router.get("", response_model=response_model(ErasureOut))
def list_erasures(
    session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(ERASURES))]
) -> Response:
    """Erasures, newest first; with `object`, those that have marked it."""
    return answer(session, caller.scope, Shown(ERASURES, ErasureOut, _shown), asked)


@router.get("/{erasure_id}")
def show_erasure(erasure_id: str, session: ReaderOf, caller: Viewer) -> ErasureOut:
    """What an erasure has marked, and the pipeline that makes it anew."""
    return _shown(session, [erasures.get(session, caller.scope, erasure_id)])[0]


@router.post("/{erasure_id}/rebuild", responses=_NOTHING)
def rebuild_erasure(
    erasure_id: str, request: RebuildRequest, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> ErasureOut:
    """Make anew what is marked and still there, as a pipeline: the jobs that made it, with each other's outputs, in
    which the preprocessing leaves the data out.
    """
    _rebuild(parts, caller, erasure_id, request, background)
    with parts.database.reading() as session:
        return _shown(session, [erasures.get(session, caller.scope, erasure_id)])[0]


def _rebuild(parts: Parts, caller: Identity, erasure_id: str, request: RebuildRequest, background: BackgroundTasks, *,
             patient: bool = True) -> None:  # fmt: skip
    """Submit the pipeline. Conflict when there is one, or, unless `patient` is False, when there is nothing to make."""
    with parts.database.reading() as session:
        row = _not_rebuilt(session, caller, erasure_id)
        made = erasures.rebuild(session, row, redeploy=request.redeploy)
        project_id = row.project_id
    steps = {name: StepRequest.model_validate(step) for name, step in made.steps.items()}
    check_size(steps, parts.settings)
    if not steps:
        if patient:
            why = "; ".join(f"{one}: {reason}" for one, reason in made.left.items()) or "nothing is marked but raw data"
            raise Conflict(f"nothing of what {erasure_id} has marked can be made anew ({why})")
        with parts.database.session() as session:
            erasures.get(session, caller.scope, erasure_id, lock=True).left = made.left
        return

    def note(session: Session, pipeline: Pipeline) -> None:
        # of two requests at once, one makes it anew
        row = _not_rebuilt(session, caller, erasure_id, lock=True)
        row.pipeline_id, row.left = pipeline.id, made.left

    asked = Asked(f"without what {erasure_id} erases")
    pipeline = record(parts, plan(steps, project_id, parts.settings), asked, caller.owner, along=note)
    assert isinstance(pipeline, PipelineOut)
    background.add_task(partial(ring, parts, pipeline.id))


def _not_rebuilt(session: Session, caller: Identity, erasure_id: str, *, lock: bool = False) -> Erasure:
    """The erasure; Conflict when there is a pipeline that makes anew what it has marked."""
    row = erasures.get(session, caller.scope, erasure_id, lock=lock)
    if row.pipeline_id is not None and caller.scope.find(session, Pipeline, row.pipeline_id) is not None:
        raise Conflict(f"{row.pipeline_id} makes anew what {erasure_id} has marked; retry it if it has failed")
    return row


def _shown(session: Session, rows: Sequence[Erasure], wanted: Wanted = frozenset()) -> list[ErasureOut]:
    return [
        ErasureOut(
            id=row.id, project_id=row.project_id, reason=row.reason, patient_key=row.patient_key, sha256=row.sha256,
            datasets={mark.object_id: mark.about for mark in row.marks if mark.object_id.startswith("ds_")},
            models=[mark.object_id for mark in row.marks if mark.object_id.startswith("mdl_")],
            deployments=[mark.object_id for mark in row.marks if mark.object_id.startswith("dep_")],
            unknown=row.unknown, left=row.left, pipeline_id=row.pipeline_id, created_by=row.created_by,
            created_at=row.created_at,
        )
        for row in rows
    ]  # fmt: skip
