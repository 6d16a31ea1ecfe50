"""Workers: who is there to run jobs."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from services.api.dependencies import ReaderOf, Viewer
from services.api.lists import Question, Shown, Wanted, answer, question, response_model
from services.api.schemas_workers import WorkerOut
from services.core import workers
from services.core.scope import Scope
from services.core.short_lists import WORKERS
from services.core.tables import Job, Worker
from services.core.tables.base import now
from services.core.workers import WorkerState

router = APIRouter(prefix="/v1/workers", tags=["workers"])


@router.get("", response_model=response_model(WorkerOut))
def list_workers(session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(WORKERS))]) -> Response:
    """Workers that were heard of in the last days, by name unless `sort` says otherwise: what they offer and what they
    do now.
    """
    return answer(session, caller.scope, Shown(WORKERS, WorkerOut, partial(_views, caller.scope)), asked)


def _views(scope: Scope, session: Session, rows: Sequence[Worker], _: Wanted) -> list[WorkerOut]:
    moment = now()
    found = [(row, workers.state_of(row, moment)) for row in rows]
    # jobs of other projects stay unnamed
    ids = {row.job_id for row, its in found if row.job_id and its is not WorkerState.GONE}
    seen = set(session.scalars(scope.select(Job).with_only_columns(Job.id).where(Job.id.in_(ids))))
    return [WorkerOut.of(row, its, row.job_id if row.job_id in seen else None) for row, its in found]
