"""Jobs looked over before they are submitted: what is wrong, what they take, what they would wait for."""

from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf
from services.api.problems import responses
from services.api.routes.batch import Batch, check_size, moved, read
from services.api.routes.jobs import new_job
from services.api.schemas import JobRequest
from services.api.schemas_batch import BatchJob, BatchRequest
from services.api.schemas_preflight import BatchPreflightOut, FigureOut, PreflightOut, WaitOut
from services.core import preflight, projects
from services.core.errors import FieldError, ValidationFailed
from services.core.forecast import Figure
from services.core.jobs import NewJob
from services.core.preflight import Preflight
from services.core.problems import FieldProblem

router = APIRouter(prefix="/v1", tags=["jobs"])


def _shown(figure: Figure | None) -> FigureOut | None:
    return None if figure is None else FigureOut.model_validate(figure)


def _problems(errors: Sequence[FieldError]) -> list[FieldProblem]:
    return [FieldProblem(pointer=e.pointer, detail=e.detail) for e in errors]


def _view(kind: str, found: Preflight, ref: str | None = None) -> PreflightOut:
    seen = found.forecast
    figures = {
        name: _shown(getattr(seen, name)) if seen else None
        for name in ("samples", "batches", "steps", "parameters", "memory", "storage")
    }
    return PreflightOut(
        valid=not found.errors, kind=kind, ref=ref, spec=found.spec, aliases=dict(found.aliases),
        errors=_problems(found.errors), warnings=_problems(found.warnings),
        runs_on=None if seen is None else "gpu" if found.on_gpu else "cpu", **figures,
        duration=_shown(found.duration), waits_for=[WaitOut.model_validate(wait) for wait in found.waits_for],
    )  # fmt: skip


def _look(session: Session, parts: Parts, asked: NewJob, owner: str, after: Sequence[str] = ()) -> Preflight:
    return preflight.preflight(session, asked, owner, parts.settings.quota_running, after)


@router.post("/jobs:validate")
def validate_job(request: JobRequest, parts: PartsOf, session: ReaderOf, caller: Operator) -> PreflightOut:
    """Look a job over without recording it: what is wrong, what it takes and how that is known, what it waits for."""
    project_id = projects.resolve(session, caller.scope, request.project)
    try:
        asked = new_job(request, project_id, parts.settings, request.depends_on)
    except ValidationFailed as error:
        return _view(request.kind, Preflight(None, {}, error.errors))
    found = _look(session, parts, asked, caller.owner)
    full = preflight.room(session, caller.owner, parts.settings.quota_queued)
    return _view(request.kind, replace(found, errors=[*found.errors, *full]))


@router.post("/jobs:validate-batch", responses=responses(too_large="More jobs than a batch may have"))
def validate_batch(request: BatchRequest, parts: PartsOf, session: ReaderOf, caller: Operator) -> BatchPreflightOut:
    """Look a batch over without recording it, each job for itself and all of them together."""
    check_size(request, parts.settings)
    project_id = projects.resolve(session, caller.scope, request.project)
    batch, given = read(request.jobs, project_id, parts), request.jobs
    found = [_of_batch(session, parts, batch, place, given, caller.owner) for place in range(len(given))]
    full = preflight.room(session, caller.owner, parts.settings.quota_queued, len(given))
    after = [batch.asked[place].after if place in batch.asked else () for place in range(len(given))]
    duration, storage = preflight.together(found, after)
    return BatchPreflightOut(
        valid=not full and not any(one.errors for one in found), errors=_problems(full),
        jobs=[_view(job.kind, one, job.ref) for job, one in zip(given, found, strict=True)],
        duration=FigureOut.model_validate(duration), storage=FigureOut.model_validate(storage),
    )  # fmt: skip


def _of_batch(session: Session, parts: Parts, batch: Batch, place: int, given: Sequence[BatchJob],
              owner: str) -> Preflight:  # fmt: skip
    start = f"/jobs/{place}"
    wrong = [FieldError(e.pointer.removeprefix(start), e.detail)
             for e in batch.errors if e.pointer.startswith(f"{start}/")]  # fmt: skip
    asked = batch.asked.get(place)
    if asked is None:
        return Preflight(None, {}, wrong)
    found = _look(session, parts, asked, owner, [given[other].ref or "" for other in asked.after])
    return replace(found, errors=moved(found.errors, asked, given[place]))
