"""The garbage collector: the whole object store compared with what rows own."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from services.api.dependencies import Admin, PartsOf, ReaderOf
from services.api.lists import Question, Shown, answer, question, response_model
from services.api.problems import responses
from services.api.schemas_gc import GcFindingOut, GcRequest, GcRunOut
from services.core.garbage import runs
from services.core.short_lists import FINDINGS, GC_RUNS

router = APIRouter(prefix="/v1/gc", tags=["storage"])
_RUNS = Shown(GC_RUNS, GcRunOut, lambda _, rows, __: [GcRunOut.of(row) for row in rows])
_FINDINGS = Shown(FINDINGS, GcFindingOut, lambda _, rows, __: [GcFindingOut.model_validate(row) for row in rows])


@router.post("", status_code=201, responses=responses(conflict="Another run is not over"))
def collect_garbage(parts: PartsOf, caller: Admin, request: GcRequest | None = None) -> GcRunOut:
    """Compare the whole object store with what rows own and, unless it is a dry run, remove what nobody owns.

    It takes its time: the sweeper's process carries it out, ask for the run to see how far it is.
    """
    wanted = request or GcRequest()
    asked = runs.Asked(
        wanted.dry_run, parts.settings.gc_grace_s, parts.settings.gc_keep_checkpoints, wanted.max_fraction
    )
    with parts.database.session() as session:
        return GcRunOut.of(runs.start(session, asked, caller.owner))


@router.get("", response_model=response_model(GcRunOut))
def list_gc_runs(session: ReaderOf, caller: Admin, asked: Annotated[Question, Depends(question(GC_RUNS))]) -> Response:
    """Runs of the garbage collector, newest first unless `sort` says otherwise; the last fifty are remembered."""
    return answer(session, caller.scope, _RUNS, asked)


@router.get("/{run_id}")
def show_gc_run(run_id: str, session: ReaderOf, caller: Admin) -> GcRunOut:
    """One run: how far it is, and what it has found so far."""
    return GcRunOut.of(runs.get(session, run_id))


@router.get("/{run_id}/findings", response_model=response_model(GcFindingOut))
def list_gc_findings(
    run_id: str, session: ReaderOf, caller: Admin, asked: Annotated[Question, Depends(question(FINDINGS, 1000, 5000))]
) -> Response:
    """What a run has found, folder by folder and owner by owner unless `sort` says otherwise."""
    runs.get(session, run_id)
    return answer(session, caller.scope, _FINDINGS, asked, run_id)


@router.post("/{run_id}/cancel", responses=responses(conflict="It is over"))
def cancel_gc_run(run_id: str, parts: PartsOf, caller: Admin) -> GcRunOut:
    """Stop a run; what it has removed is gone."""
    with parts.database.session() as session:
        return GcRunOut.of(runs.cancel(session, run_id))
