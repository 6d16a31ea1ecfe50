"""Many jobs in one request and one transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from fastapi import APIRouter, BackgroundTasks, Request, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.api.dependencies import Operator, Parts, PartsOf
from services.api.new_jobs import new_job
from services.api.once import again, ticket_of
from services.api.problems import MOST_ERRORS, in_words, responses
from services.api.schemas import JobOut
from services.api.schemas_batch import BatchJob, BatchOut, BatchRequest
from services.api.views import job_views
from services.core import inputs, jobs, once, projects
from services.core.errors import Conflict, FieldError, TooLarge, ValidationFailed
from services.core.jobs import NewJob
from services.core.once import Answer, Ticket
from services.core.problems import FieldProblem
from services.core.settings import Settings

router = APIRouter(prefix="/v1", tags=["jobs"])


@dataclass
class Batch:
    """What is made of a batch: the wanted jobs by their place, and what is wrong with others."""

    asked: dict[int, NewJob]
    errors: list[FieldError] = field(default_factory=list)
    conflict: bool = False

    def drop(self, place: int, errors: Sequence[FieldError]) -> None:
        """Leave a job out."""
        self.asked.pop(place, None)
        self.errors += [FieldError(f"/jobs/{place}{e.pointer}", e.detail) for e in errors]


@router.post(
    "/jobs:batch", status_code=201, response_model=BatchOut,
    responses=responses(conflict="A dependency has failed", too_large="More jobs than a batch may have"),
)  # fmt: skip
def submit_batch(
    request: BatchRequest, http: Request, parts: PartsOf, caller: Operator, background: BackgroundTasks
) -> BatchOut | Response:
    """Record many jobs in one transaction: all of them, or none. They may depend on each other by `ref`."""
    check_size(request, parts.settings)
    with parts.database.reading() as session:
        project_id = projects.resolve(session, caller.scope, request.project)
    batch = read(request.jobs, project_id, parts)
    ticket = ticket_of(http)
    try:
        made = _record(parts, request, batch, caller.owner, ticket)
    except IntegrityError:
        # the same key came in twice at the same moment: the other one has won
        made = _record(parts, request, batch, caller.owner, ticket)
    if isinstance(made, Answer):
        return again(made)
    background.add_task(parts.desk.ring, *[job for job in made.jobs if job is not None])
    return made


def check_size(request: BatchRequest, settings: Settings) -> None:
    """TooLarge when a batch has more jobs than it may."""
    most = settings.batch_jobs
    if len(request.jobs) > most:
        detail = f"{len(request.jobs)} jobs; a batch may have {most} (MEDCOSS_BATCH_JOBS)"
        raise TooLarge(detail, [FieldError("/jobs", detail)])


def read(asked: Sequence[BatchJob], project_id: str, parts: Parts) -> Batch:
    """The jobs with their specs resolved, and what is wrong with specs and with who needs whom."""
    batch = Batch({})
    places = {job.ref: place for place, job in enumerate(asked) if job.ref is not None}
    for place, job in enumerate(asked):
        try:
            made = new_job(job, project_id, parts.settings, [d for d in job.depends_on if d not in places])
        except ValidationFailed as error:
            batch.drop(place, error.errors)
            continue
        batch.asked[place] = replace(made, after=tuple(places[d] for d in job.depends_on if d in places))
    for place, job in enumerate(asked):
        wrong = [
            FieldError(f"/depends_on/{i}", f"there is no job with the ref '{d}' in this batch")
            for i, d in enumerate(job.depends_on) if d not in places and not d.startswith("job_")
        ]  # fmt: skip
        if wrong:
            batch.drop(place, wrong)
    for place in _in_circles(asked, places):
        batch.drop(place, [FieldError("/depends_on", "this job waits for itself, through the refs it depends on")])
    return batch


def _in_circles(asked: Sequence[BatchJob], places: dict[str, int]) -> Iterator[int]:
    """Places of jobs that can never start, because they are part of a circle or wait for one."""
    needs = {place: {places[d] for d in job.depends_on if d in places} for place, job in enumerate(asked)}
    while free := [place for place, others in needs.items() if not others & needs.keys()]:
        for place in free:
            del needs[place]
    yield from needs


def _record(parts: Parts, request: BatchRequest, batch: Batch, owner: str,
            ticket: Ticket | None) -> BatchOut | Answer:  # fmt: skip
    checked = Batch(dict(batch.asked), list(batch.errors))
    with parts.database.session() as session:
        known = once.find(session, ticket) if ticket else None
        if known is not None:
            return known
        for place, asked in list(checked.asked.items()):
            _check(session, checked, place, asked, request.jobs[place], owner)
        if not request.all_or_nothing:
            _drop_dependants(checked)
        if checked.errors and (request.all_or_nothing or not checked.asked):
            raise _refusal(checked)
        out = _submitted(session, parts, request, checked, owner)
        if ticket:
            first = next(job.id for job in out.jobs if job is not None)
            once.keep(session, ticket, Answer(201, out.model_dump_json()), first)
        return out


def _check(session: Session, batch: Batch, place: int, asked: NewJob, given: BatchJob, owner: str) -> None:
    """What the job names must be there and fit."""
    try:
        inputs.check(session, asked)
        jobs.check_submission(session, asked, owner, None)
    except ValidationFailed as error:
        batch.drop(place, moved(error.errors, asked, given))
    except Conflict as error:
        batch.conflict = True
        batch.drop(place, [FieldError("/depends_on", error.detail)])


def moved(errors: Sequence[FieldError], asked: NewJob, given: BatchJob) -> list[FieldError]:
    """Errors of a job with pointers into its request: they count the ids alone, the request has refs between them."""
    number = [i for i, other in enumerate(given.depends_on) if other in asked.depends_on]

    def place(pointer: str) -> str:
        start, _, last = pointer.rpartition("/")
        return f"{start}/{number[int(last)]}" if start == "/depends_on" else pointer

    return [FieldError(place(e.pointer), e.detail) for e in errors]


def _drop_dependants(batch: Batch) -> None:
    """Who needs a job that is left out is left out, too."""
    while lost := {place: gone for place, one in batch.asked.items() if (gone := set(one.after) - batch.asked.keys())}:
        for place, others in lost.items():
            batch.drop(place, [FieldError("/depends_on", f"it needs /jobs/{min(others)}, which is wrong")])


def _refusal(batch: Batch) -> ValidationFailed | Conflict:
    errors = sorted(batch.errors, key=lambda e: int(e.pointer.split("/")[2]))
    detail = in_words(errors[:MOST_ERRORS], len(errors))
    only_conflicts = batch.conflict and all(e.pointer.endswith("/depends_on") for e in errors)
    return (Conflict if only_conflicts else ValidationFailed)(detail, errors[:MOST_ERRORS])


def _submitted(session: Session, parts: Parts, request: BatchRequest, batch: Batch, owner: str) -> BatchOut:
    order = sorted(batch.asked)
    number = {place: i for i, place in enumerate(order)}
    asked = [replace(batch.asked[p], after=tuple(number[q] for q in batch.asked[p].after)) for p in order]
    rows = jobs.submit_all(session, asked, created_by=owner, quota=parts.settings.quota_queued)
    views = dict(zip(order, job_views(session, rows, quota=parts.settings.quota_running), strict=True))
    shown: list[JobOut | None] = [views.get(place) for place in range(len(request.jobs))]
    return BatchOut(jobs=shown, errors=[FieldProblem(pointer=e.pointer, detail=e.detail) for e in batch.errors])
