"""Jobs looked over before they are submitted: what is wrong, what they take, what they would wait for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf
from services.api.faults import is_batch, is_job, is_pipeline, looked_over
from services.api.new_jobs import new_job, resolved_spec
from services.api.planning import check_size as check_steps
from services.api.planning import plan, promised, refusal_order, steps_of
from services.api.problems import responses
from services.api.routes.batch import Batch, check_size, moved, read
from services.api.schemas import JobRequest
from services.api.schemas_batch import BatchJob, BatchRequest
from services.api.schemas_pipelines import SUMS, UNKNOWN, PipelinePreflightOut, PipelineRequest
from services.api.schemas_preflight import BatchPreflightOut, FigureOut, PreflightOut, WaitOut
from services.core import preflight, projects
from services.core.errors import FieldError, ValidationFailed
from services.core.forecast import Figure
from services.core.jobs import NewJob
from services.core.pipelines.forecasts import foresee, sums
from services.core.preflight import Preflight
from services.core.problems import FieldProblem

router = APIRouter(prefix="/v1", tags=["jobs"])
Handler = TypeVar("Handler", bound=Callable[..., Any])
_IN_JOB = re.compile(r"/jobs/(\d+)(?=/|$)")


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
        checked_at_start=_problems(found.at_start),
    )  # fmt: skip


def _look(session: Session, parts: Parts, asked: NewJob, owner: str, after: Sequence[str] = ()) -> Preflight:
    return preflight.preflight(session, asked, owner, parts.settings.quota_running, after)


def _spec_errors(job: dict[str, Any]) -> list[FieldError]:
    """What is wrong with the spec of a job whose other fields are wrong."""
    try:
        resolved_spec(job["kind"], job["spec"])
    except ValidationFailed as error:
        return error.errors
    return []


def _faulty(job: dict[str, Any], errors: Sequence[FieldError]) -> PreflightOut:
    return _view(job["kind"], Preflight(None, {}, [*errors, *_spec_errors(job)]))


def _faulty_batch(body: dict[str, Any], errors: Sequence[FieldError]) -> BatchPreflightOut:
    """Errors go to their jobs; a job without one is not valid either, as nobody has looked further."""
    mine: dict[int, list[FieldError]] = {place: _spec_errors(job) for place, job in enumerate(body["jobs"])}
    whole = []
    for error in errors:
        place = _IN_JOB.match(error.pointer)
        if place is None:
            whole.append(error)
        else:
            mine[int(place[1])].append(FieldError(error.pointer[place.end(1) :], error.detail))
    unseen = [FieldError("", "not looked over: other fields of the batch are wrong; mend them first")]
    jobs = [_view(job["kind"], Preflight(None, {}, mine[i] or unseen)) for i, job in enumerate(body["jobs"])]
    unknown = {"duration": _unknown("s", UNKNOWN), "storage": _unknown("byte", UNKNOWN)}
    return BatchPreflightOut(valid=False, errors=_problems(whole), jobs=jobs, **unknown)


def _unknown(unit: str, why: str) -> FigureOut:
    return FigureOut(value=None, unit=unit, how=why, parts={})


def _looking(path: str, route: type[APIRoute], **more: Any) -> Callable[[Handler], Handler]:
    """A POST below /v1 whose wrong fields are an answer."""

    def add(function: Handler) -> Handler:
        router.add_api_route(path, function, methods=["POST"], route_class_override=route, **more)
        return function

    return add


@_looking("/jobs:validate", looked_over(is_job, _faulty))
def validate_job(request: JobRequest, parts: PartsOf, session: ReaderOf, caller: Operator) -> PreflightOut:
    """Look a job over without recording it: what is wrong, what it takes and how that is known, what it waits for.

    Wrong fields of a request that names a `kind` and a `spec` are told with a 200 and `valid: false`. A 422 is for a
    body that asks for no job: no JSON object, or `kind` is no text or `spec` no object.
    """
    try:
        project_id = projects.resolve(session, caller.scope, request.project)
        asked = new_job(request, project_id, parts.settings, request.depends_on)
    except ValidationFailed as error:
        return _view(request.kind, Preflight(None, {}, error.errors))
    found = _look(session, parts, asked, caller.owner)
    full = preflight.room(session, caller.owner, parts.settings.quota_queued)
    return _view(request.kind, replace(found, errors=[*found.errors, *full]))


@_looking(
    "/jobs:validate-batch",
    looked_over(is_batch, _faulty_batch),
    responses=responses(too_large="More jobs than a batch may have"),
)
def validate_batch(request: BatchRequest, parts: PartsOf, session: ReaderOf, caller: Operator) -> BatchPreflightOut:
    """Look a batch over without recording it, each job for itself and all of them together.

    Wrong fields are told with a 200 and `valid: false`; a 422 is for a body that has no list of jobs, each with a
    `kind` and a `spec`.
    """
    check_size(request, parts.settings)
    try:
        project_id = projects.resolve(session, caller.scope, request.project)
    except ValidationFailed as error:
        return _faulty_batch(request.model_dump(), error.errors)
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


def _faulty_pipeline(body: dict[str, Any], errors: Sequence[FieldError]) -> PipelinePreflightOut:
    unknown = {name: _unknown(unit, UNKNOWN) for name, unit in SUMS.items()}
    return PipelinePreflightOut(valid=False, errors=_problems(errors), steps={}, **unknown)


@_looking(
    "/pipelines:validate",
    looked_over(is_pipeline, _faulty_pipeline),
    tags=["pipelines"],
    responses=responses(too_large="More steps than a pipeline may have"),
)
def validate_pipeline(
    request: PipelineRequest, parts: PartsOf, session: ReaderOf, caller: Operator
) -> PipelinePreflightOut:
    """Look a pipeline over without recording it: all that is wrong with it, and what it takes, each step and together.

    Of what a step takes of another one, as much is supposed as the other's spec tells: a pre-training knows its
    samples and steps even when its data are made by a step before it, as far as those are images by their names.
    """
    try:
        project_id = projects.resolve(session, caller.scope, request.project)
        given = steps_of(session, request, caller.scope, project_id)
    except ValidationFailed as error:
        return _faulty_pipeline({}, error.errors)
    check_steps(given, parts.settings)
    made = plan(given, project_id, parts.settings, promised(request))
    seen = foresee(session, made, caller.owner, parts.settings.quota_running)
    full = preflight.room(session, caller.owner, parts.settings.quota_queued, len(given))
    errors = refusal_order([*full, *made.errors], given)
    if errors:
        return _faulty_pipeline({}, errors)
    whole = {name: FigureOut.model_validate(figure) for name, figure in sums(made, seen).items()}
    steps = {name: _view(given[name].kind, one, name) for name, one in seen.items()}
    return PipelinePreflightOut(valid=True, errors=[], steps=steps, **whole)
