"""Jobs: submit, watch, cancel."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from medcoss.specs import CHILD_KINDS, JOB_KINDS
from services.api import etags
from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.lists import Heavy, Question, Shown, Wanted, answer, question, response_model
from services.api.once import again, ticket_of
from services.api.problems import MOST_ERRORS, field_errors, invalid, responses
from services.api.routes.labels import OF_JOB
from services.api.schemas import ArtifactOut, EventOut, JobOut, JobRequest, LogOut, MetricOut, Rows
from services.api.views import EVERY_JOB_FIELD, job_view, job_views
from services.core import inputs, jobs, once, projects
from services.core.bell import ring
from services.core.errors import FieldError, ValidationFailed
from services.core.jobs import NewJob
from services.core.lifecycle import State
from services.core.lists import JOBS
from services.core.once import Answer, Ticket
from services.core.scheduling import RINGS
from services.core.settings import Settings
from services.core.short_lists import ARTIFACTS
from services.core.tables import Job, JobArtifact, JobEvent, JobLog, JobMetric

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

After = Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the rows before")]
RowLimit = Annotated[int, Query(ge=1, le=5000, description="rows in an answer")]
_HEAVY = (
    Heavy(Job.spec, frozenset({"spec"}), {}), Heavy(Job.result, frozenset({"result"})),
    Heavy(Job.error, frozenset({"error"})),
)  # fmt: skip


def resolved_spec(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The spec with its defaults; ValidationFailed names every wrong field."""
    kind = JOB_KINDS.get(name)
    if kind is None:
        expected = f"expected one of {', '.join(JOB_KINDS)}"
        what = f"there is no job kind '{name}'"
        if name in CHILD_KINDS:
            what = f"'{name}' jobs are made by the platform alone, of a preprocess job with `chunks`"
        raise ValidationFailed(f"{what}; {expected}", [FieldError("/kind", expected)])
    try:
        spec = kind.spec.model_validate(given)
    except ValidationError as error:
        shown = error.errors(include_url=False)[:MOST_ERRORS]
        entries = [dict(entry) | {"loc": list(_place(entry["loc"]))} for entry in shown]
        raise invalid(field_errors(entries, "spec"), error.error_count()) from None
    return spec.model_dump(mode="json")


def _place(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Where a field is in the request: pydantic puts the tag of a chosen recipe in between."""
    for number, part in enumerate(location):
        if number == 0 or location[number - 1] != "recipe":
            yield part


def new_job(request: JobRequest, project_id: str, settings: Settings, depends_on: Sequence[str]) -> NewJob:
    """What is asked for, with its defaults; ValidationFailed names every wrong field of the spec."""
    return NewJob(
        kind=request.kind, project_id=project_id, spec=resolved_spec(request.kind, request.spec),
        name=request.name or request.kind,
        priority=request.priority,
        max_attempts=request.max_attempts or settings.max_attempts,
        depends_on=tuple(depends_on), gpus=request.resources.gpus,
        memory_bytes=request.resources.memory_bytes, backoff_s=request.retry.backoff_s,
        retry_on=None if request.retry.on is None else tuple(request.retry.on), time_limit_s=request.time_limit_s,
        notes=request.notes, tags=tuple(dict.fromkeys(request.tags)),
    )  # fmt: skip


def _submit(parts: Parts, asked: NewJob, created_by: str, ticket: Ticket | None) -> JobOut | Answer:
    """The job; the answer that was given before, when the request is a repeated one."""
    with parts.database.session() as session:
        known = once.find(session, ticket) if ticket else None
        if known is not None:
            return known
        inputs.check(session, asked)
        row = jobs.submit(session, asked, created_by=created_by, quota=parts.settings.quota_queued)
        job = _new_view(session, row, asked, parts.settings.quota_running)
        if ticket:
            once.keep(session, ticket, Answer(201, job.model_dump_json()), job.id)
        return job


def rings(job: JobOut) -> int:
    """How many workers a job that was queued or let go on is for: one, or one for each of its child jobs."""
    if job.children and job.state == State.WAITING:
        return min(job.children, RINGS)
    return 1 if job.state == State.QUEUED else 0


def _new_view(session: Session, row: Job, asked: NewJob, quota: int | None) -> JobOut:
    """A new job as it is answered: what it was not given is not looked for."""
    given = {"tags": asked.tags, "depends_on": asked.depends_on}
    wanted = EVERY_JOB_FIELD - {name for name, values in given.items() if not values}
    return job_views(session, [row], wanted, quota)[0]


@router.post("", status_code=201, response_model=JobOut, responses=responses(conflict="A dependency has failed"))
def submit_job(
    request: JobRequest, http: Request, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> Response:
    """Record a job. The spec is checked as a whole, and every dataset and model it names must be there."""
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
    asked, ticket = new_job(request, project_id, parts.settings, request.depends_on), ticket_of(http)
    try:
        job = _submit(parts, asked, caller.owner, ticket)
    except IntegrityError:
        # the same key came in twice at the same moment: the other one has won
        job = _submit(parts, asked, caller.owner, ticket)
    if isinstance(job, Answer):
        return again(job)
    for _ in range(rings(job)):
        background.add_task(ring, parts.celery, job.id, job.resources.gpus)
    # it is valid: it need not be checked against its schema once more
    return Response(job.model_dump_json(), 201, media_type="application/json")


@router.get("", response_model=response_model(JobOut))
def list_jobs(
    parts: PartsOf, session: ReaderOf, caller: Viewer, asked: Annotated[Question, Depends(question(JOBS))]
) -> Response:
    """Jobs, newest first unless `sort` says otherwise. What no index carries together is a 422 that says what does."""
    views = partial(job_views, quota=parts.settings.quota_running)
    return answer(session, caller.scope, Shown(JOBS, JobOut, views, _HEAVY), asked)


@router.get("/{job_id}")
def show_job(job_id: str, request: Request, parts: PartsOf, session: ReaderOf, caller: Viewer) -> JobOut:
    """State, progress, ETA and result of one job."""
    shown = job_view(session, jobs.get(session, caller.scope, job_id), parts.settings.quota_running)
    etags.seen(request, shown, OF_JOB)
    return shown


@router.post("/{job_id}/cancel", responses=responses(conflict="The job has ended"))
def cancel_job(job_id: str, parts: PartsOf, caller: Operator) -> JobOut:
    """Cancel a job; a running one writes a checkpoint and ends within moments."""
    with parts.database.session() as session:
        return job_view(session, jobs.request_cancel(session, caller.scope, job_id))


@router.post("/{job_id}/pause", responses=responses(conflict="The job has ended or is being cancelled"))
def pause_job(job_id: str, parts: PartsOf, caller: Operator) -> JobOut:
    """Set a job aside; a running one writes a checkpoint and stops within moments."""
    with parts.database.session() as session:
        return job_view(session, jobs.request_pause(session, caller.scope, job_id))


@router.post("/{job_id}/resume", responses=responses(conflict="The job has ended, or its time limit is over"))
def resume_job(job_id: str, parts: PartsOf, caller: Operator, background: BackgroundTasks) -> JobOut:
    """Queue a paused job again; it goes on from its last checkpoint."""
    with parts.database.session() as session:
        job = job_view(session, jobs.request_resume(session, caller.scope, job_id), parts.settings.quota_running)
    for _ in range(rings(job)):
        background.add_task(ring, parts.celery, job.id, job.resources.gpus)
    return job


def _next(found: Sequence[JobEvent | JobLog | JobMetric], after: int) -> int:
    return found[-1].seq if found else after


@router.get("/{job_id}/metrics")
def list_metrics(
    job_id: str, session: ReaderOf, caller: Viewer, after: After = 0, limit: RowLimit = 1000
) -> Rows[MetricOut]:
    """Metric rows in order."""
    found = jobs.rows(session, caller.scope, JobMetric, job_id, after, limit)
    return Rows(items=[MetricOut.model_validate(row) for row in found], next=_next(found, after))


@router.get("/{job_id}/logs")
def list_logs(job_id: str, session: ReaderOf, caller: Viewer, after: After = 0, limit: RowLimit = 1000) -> Rows[LogOut]:
    """Log lines in order."""
    found = jobs.rows(session, caller.scope, JobLog, job_id, after, limit)
    return Rows(items=[LogOut.model_validate(row) for row in found], next=_next(found, after))


@router.get("/{job_id}/events")
def list_events(
    job_id: str, session: ReaderOf, caller: Viewer, after: After = 0, limit: RowLimit = 1000
) -> Rows[EventOut]:
    """State changes in order."""
    found = jobs.rows(session, caller.scope, JobEvent, job_id, after, limit)
    return Rows(items=[EventOut.model_validate(row) for row in found], next=_next(found, after))


@router.get("/{job_id}/artifacts", response_model=response_model(ArtifactOut))
def list_artifacts(
    job_id: str, parts: PartsOf, session: ReaderOf, caller: Viewer,
    asked: Annotated[Question, Depends(question(ARTIFACTS))],
) -> Response:  # fmt: skip
    """Files that the job kept, each with a URL to fetch it from, by name unless `sort` says otherwise."""
    jobs.get(session, caller.scope, job_id)
    return answer(session, caller.scope, Shown(ARTIFACTS, ArtifactOut, partial(_artifacts, parts)), asked, job_id)


def _artifacts(parts: Parts, _: Session, rows: Sequence[JobArtifact], wanted: Wanted) -> list[ArtifactOut]:
    signed = partial(parts.store.presign_get, expires_s=parts.settings.upload_expiry_s)
    return [
        ArtifactOut(name=a.name, content_type=a.content_type, size=a.size, url=signed(a.key) if "url" in wanted else "")
        for a in rows
    ]
