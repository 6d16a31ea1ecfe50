"""Workers: who is there to run jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.api.dependencies import ReaderOf, Viewer
from services.api.schemas import Page
from services.api.schemas_workers import WorkerOut
from services.core import workers
from services.core.tables import Job
from services.core.tables.base import now
from services.core.workers import WorkerState

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("")
def list_workers(
    session: ReaderOf,
    caller: Viewer,
    state: Annotated[WorkerState | None, Query(description="only those in this state")] = None,
) -> Page[WorkerOut]:
    """Workers that were heard of in the last days, by name: what they offer and what they do now."""
    moment = now()
    found = [(row, workers.state_of(row, moment)) for row in workers.known(session)]
    found = [(row, its) for row, its in found if state in (None, its)]
    # jobs of other projects stay unnamed
    scope, ids = caller.scope, {row.job_id for row, its in found if row.job_id and its is not WorkerState.GONE}
    seen = set(session.scalars(scope.select(Job).with_only_columns(Job.id).where(Job.id.in_(ids))))
    return Page(items=[WorkerOut.of(row, its, row.job_id if row.job_id in seen else None) for row, its in found])
