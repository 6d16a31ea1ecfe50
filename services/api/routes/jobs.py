"""Jobs: submit, watch, cancel."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from services.api import etags
from services.api.dependencies import Operator, Parts, PartsOf, ReaderOf, Viewer
from services.api.lists import (
    Fields,
    Heavy,
    Question,
    Shown,
    SparseRows,
    Wanted,
    answer,
    page_of,
    question,
    response_model,
    rows_model,
    wanted_fields,
)  # fmt: skip
from services.api.once import again, ticket_of
from services.api.problems import responses
from services.api.routes.labels import OF_JOB
from services.api.schemas import ArtifactOut, EventOut, JobOut, JobRequest, LogOut, LogRows, MetricOut
from services.api.submissions import Submission
from services.api.views import job_view, job_views
from services.core import job_log, jobs, tracing
from services.core.job_log import Level, LogQuestion
from services.core.lists import JOBS
from services.core.once import Answer
from services.core.short_lists import ARTIFACTS
from services.core.tables import Job, JobArtifact, JobEvent, JobMetric

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

After = Annotated[int, Query(ge=0, le=2**63 - 1, description="`next` of the rows before")]
RowLimit = Annotated[int, Query(ge=1, le=5000, description="rows in an answer")]
_HEAVY = (
    Heavy(Job.spec, frozenset({"spec"}), {}), Heavy(Job.result, frozenset({"result"})),
    Heavy(Job.error, frozenset({"error"})),
)  # fmt: skip


@router.post("", status_code=201, response_model=JobOut, responses=responses(conflict="A dependency has failed"))
async def submit_job(
    request: JobRequest, http: Request, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> Response:
    """Record a job. The spec is checked as a whole, and every dataset and model it names must be there."""
    made = await parts.desk.submit(Submission(request, caller, ticket_of(http), tracing.traceparent()))
    if isinstance(made, Answer):
        return again(made)
    background.add_task(parts.desk.ring, made.job)
    # it is valid: it need not be checked against its schema once more
    return Response(made.body, 201, media_type="application/json")


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
    background.add_task(parts.desk.ring, job)
    return job


def _rows(found: Sequence[JobEvent | JobMetric], out: type[EventOut | MetricOut], after: int,
          fields: str | None) -> Response:  # fmt: skip
    items = [out.model_validate(row) for row in found]
    return page_of(items, wanted_fields(fields, out), next=found[-1].seq if found else after)


def _log_question(
    after: After = 0,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1, description="only rows before this `seq`, those nearest to "
                                        "it: the end of the log with the largest number, and from there "
                                        "backwards")] = None,
    limit: RowLimit = 1000,
    contains: Annotated[str | None, Query(min_length=1, max_length=200, description="lines that hold this text, "
                                          "without regard to case")] = None,
    level: Annotated[Level | None, Query(description="lines of this level and above")] = None,
    count: Annotated[bool, Query(description="also count the lines of the whole log that are so: `matches`")] = False,
) -> LogQuestion:  # fmt: skip
    return LogQuestion(after, before, limit, contains, level, count)


@router.get("/{job_id}/metrics", response_model=rows_model(MetricOut))
def list_metrics(
    job_id: str, session: ReaderOf, caller: Viewer, after: After = 0, limit: RowLimit = 1000, fields: Fields = None
) -> Response:
    """Metric rows in order."""
    return _rows(jobs.rows(session, caller.scope, JobMetric, job_id, after, limit), MetricOut, after, fields)


@router.get("/{job_id}/logs", response_model=LogRows | SparseRows)
def list_logs(job_id: str, session: ReaderOf, caller: Viewer, asked: Annotated[LogQuestion, Depends(_log_question)],
              fields: Fields = None) -> Response:  # fmt: skip
    """Log lines in order, of the whole log or those that hold a text or are of a level; with `before` the last ones."""
    found = job_log.lines(session, caller.scope, job_id, asked)
    items = [LogOut.model_validate(row) for row in found.rows]
    return page_of(items, wanted_fields(fields, LogOut), next=found.next, matches=found.matches)


@router.get("/{job_id}/events", response_model=rows_model(EventOut))
def list_events(
    job_id: str, session: ReaderOf, caller: Viewer, after: After = 0, limit: RowLimit = 1000, fields: Fields = None
) -> Response:
    """State changes in order."""
    return _rows(jobs.rows(session, caller.scope, JobEvent, job_id, after, limit), EventOut, after, fields)


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
