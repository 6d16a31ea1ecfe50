"""Deployments: serve a model, look, switch between versions, go back, stop serving."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Response
from sqlalchemy.orm import Session

from medcoss.specs.records import DeploymentInfo
from services.api.dependencies import Operator, PartsOf, ReaderOf, Viewer
from services.api.lists import Question, Shown, Wanted, answer, question, response_model
from services.api.problems import responses
from services.api.schemas import JobRequest
from services.api.schemas_deployments import DeploymentOut, DeploymentRequest
from services.api.submissions import Submission, Submitted
from services.core import deletion, deployments, registry, tracing
from services.core.errors import Conflict, FieldError, ValidationFailed
from services.core.lists import DEPLOYMENTS
from services.core.tables import Deployment

router = APIRouter(prefix="/v1/deployments", tags=["deployments"])
_OF_ROW = ("id", "project_id", "name", "version", "state", "error", "model_id", "job_id", "created_at", "ready_at",
           "activated_at")  # fmt: skip
_OF_INFO = ("task", "modality", "kind", "classes", "precision", "accelerator", "tolerance", "max_difference")


def _views(session: Session, rows: Sequence[Deployment], _: Wanted = frozenset()) -> list[DeploymentOut]:
    answering = deployments.active_ids(session, {row.name for row in rows})
    return [_view(row, active=row.id in answering) for row in rows]


def _view(row: Deployment, *, active: bool) -> DeploymentOut:
    info = DeploymentInfo.model_validate(row.info)
    values = {name: getattr(row, name) for name in _OF_ROW} | {name: getattr(info, name) for name in _OF_INFO}
    return DeploymentOut(**values, active=active, golden=info.golden if row.ready_at is not None else None)


_SHOWN = Shown(DEPLOYMENTS, DeploymentOut, _views)


@router.post("", status_code=201)
async def create_deployment(
    request: DeploymentRequest, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> DeploymentOut:
    """Serve a model under a name: a job exports it, loads it into Triton, and compares its answers with PyTorch's.
    Watch `state`, or the job. The version that answers under the name goes on answering until then.
    """
    spec = request.model_dump(mode="json", exclude_unset=True, exclude={"project"})
    job = JobRequest(kind="export", spec=spec, name=f"deploy {request.name}", project=request.project)
    try:
        made = await parts.desk.submit(Submission(job, caller, None, tracing.traceparent()))
    except ValidationFailed as error:
        raise ValidationFailed(error.detail, [_moved(entry) for entry in error.errors]) from None
    assert isinstance(made, Submitted)
    background.add_task(parts.desk.ring, made.job)
    with parts.database.reading() as session:
        row = deployments.of_job(session, made.job.id)
        if row is None:
            raise Conflict(f"the model was deleted meanwhile; job {made.job.id} is going to say so")
        return _views(session, [row])[0]


def _moved(error: FieldError) -> FieldError:
    """An error of the job's spec as one of this request."""
    pointer = error.pointer
    return FieldError(pointer.removeprefix("/spec") if pointer.startswith("/spec/") else pointer, error.detail)


@router.get("", response_model=response_model(DeploymentOut))
def list_deployments(
    session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(DEPLOYMENTS))]
) -> Response:
    """Served versions, and those that load or have failed, newest first unless `sort` says otherwise."""
    return answer(session, caller.scope, _SHOWN, asked)


@router.get("/{deployment_id}")
def show_deployment(deployment_id: str, session: ReaderOf, caller: Viewer) -> DeploymentOut:
    """One served version."""
    return _views(session, [registry.get_deployment(session, caller.scope, deployment_id)])[0]


@router.post("/{deployment_id}/activate", responses=responses(conflict="It is not ready"))
def activate_deployment(deployment_id: str, parts: PartsOf, caller: Operator) -> DeploymentOut:
    """Have a version answer for its name from now on. Requests that are under way are answered by the one that took
    them.
    """
    with parts.database.session() as session:
        return _views(session, [deployments.activate(session, caller.scope, deployment_id)])[0]


@router.post("/{deployment_id}/rollback", responses=responses(conflict="It does not answer, or none did before"))
def roll_back_deployment(deployment_id: str, parts: PartsOf, caller: Operator) -> DeploymentOut:
    """Have the version answer again that answered before this one; that one is returned. This one stays beside it."""
    with parts.database.session() as session:
        return _views(session, [deployments.roll_back(session, caller.scope, deployment_id)])[0]


@router.post("/{deployment_id}/reload", responses=responses(conflict="It was never ready"))
def reload_deployment(deployment_id: str, parts: PartsOf, caller: Operator) -> DeploymentOut:
    """Have a version that was ready and has failed since be loaded and checked again, with the next sweep."""
    with parts.database.session() as session:
        return _views(session, [deployments.reload(session, caller.scope, deployment_id)])[0]


@router.delete("/{deployment_id}", status_code=204)
def delete_deployment(deployment_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Stop serving a version; the one that answered before it does from now on. Of one that loads, the export is
    cancelled. The sweeper takes it out of Triton once requests that it has begun to answer are answered.
    """
    with parts.database.session() as session:
        deletion.delete_deployment(session, caller.scope, deployment_id, parts.settings.drain_s)
    return Response(status_code=204)
