"""Deleting what nothing uses any more: models and jobs; `datasets` and `deployments` have their own."""

from fastapi import APIRouter, Response

from services.api.dependencies import Operator, PartsOf
from services.api.problems import responses
from services.core import deletion

router = APIRouter(prefix="/v1", tags=["storage"])


@router.delete("/models/{model_id}", status_code=204, responses=responses(conflict="In use; `detail` names by what"))
def delete_model(model_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Remove a model that no job, deployment, alias or other model needs. The sweeper removes its files."""
    with parts.database.session() as session:
        deletion.delete_model(session, caller.scope, model_id)
    return Response(status_code=204)


@router.delete(
    "/jobs/{job_id}", status_code=204, responses=responses(conflict="It has not ended, or others wait for it")
)
def delete_job(job_id: str, parts: PartsOf, caller: Operator) -> Response:
    """Remove a job that has ended, with its events, metrics, log, artifacts and checkpoints. What it made stays."""
    with parts.database.session() as session:
        deletion.delete_job(session, caller.scope, job_id)
    return Response(status_code=204)
