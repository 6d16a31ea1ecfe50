"""The garbage collector: the whole object store compared with what rows own."""

from fastapi import APIRouter

from services.api.dependencies import Admin, PartsOf, ReaderOf
from services.api.pages import Cursor, FileLimit, number_of
from services.api.problems import responses
from services.api.schemas import Page
from services.api.schemas_gc import GcFindingOut, GcRequest, GcRunOut
from services.core.garbage import runs

router = APIRouter(prefix="/v1/gc", tags=["storage"])


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


@router.get("")
def list_gc_runs(session: ReaderOf, caller: Admin) -> Page[GcRunOut]:
    """Runs of the garbage collector, newest first; the last fifty are remembered."""
    return Page(items=[GcRunOut.of(row) for row in runs.known(session)])


@router.get("/{run_id}")
def show_gc_run(run_id: str, session: ReaderOf, caller: Admin) -> GcRunOut:
    """One run: how far it is, and what it has found so far."""
    return GcRunOut.of(runs.get(session, run_id))


@router.get("/{run_id}/findings")
def list_gc_findings(
    run_id: str, session: ReaderOf, caller: Admin, limit: FileLimit = 1000, cursor: Cursor = None
) -> Page[GcFindingOut]:
    """What a run has found, folder by folder and owner by owner."""
    runs.get(session, run_id)
    rows = runs.findings(session, run_id, number_of(cursor) or 0, limit + 1)
    following = str(rows[limit - 1].seq) if len(rows) > limit else None
    return Page(items=[GcFindingOut.model_validate(row) for row in rows[:limit]], next=following)


@router.post("/{run_id}/cancel", responses=responses(conflict="It is over"))
def cancel_gc_run(run_id: str, parts: PartsOf, caller: Admin) -> GcRunOut:
    """Stop a run; what it has removed is gone."""
    with parts.database.session() as session:
        return GcRunOut.of(runs.cancel(session, run_id))
