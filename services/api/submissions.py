"""Submissions that arrive at the same moment, recorded in one transaction: each stands and falls by itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from celery import Celery
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from services.api.new_jobs import new_job
from services.api.schemas import JobOut, JobRequest
from services.api.together import Together
from services.api.views import EVERY_JOB_FIELD, job_views
from services.core import inputs, jobs, once, projects
from services.core.bell import ring_all
from services.core.db import Database
from services.core.errors import MedcossError
from services.core.jobs import NewJob
from services.core.keys import Identity
from services.core.lifecycle import State
from services.core.once import Answer, Ticket
from services.core.scheduling import RINGS, Ring
from services.core.settings import Settings
from services.core.tables import Job


@dataclass(frozen=True)
class Submission:
    """A job that somebody asks for; `trace` is the request's."""

    request: JobRequest
    caller: Identity
    ticket: Ticket | None
    trace: str | None


@dataclass(frozen=True)
class Submitted:
    """A job that has been recorded, and how it is answered."""

    job: JobOut
    body: str


Outcome = Submitted | Answer


class Desk:
    """Takes jobs in and tells the workers of them, those of one moment together."""

    def __init__(self, settings: Settings, database: Database, celery: Celery) -> None:
        self._submissions: Together[Submission, Outcome] = Together(partial(submit_together, settings, database))
        self._rings: Together[Sequence[Ring], None] = Together(partial(_ring, celery))

    @property
    def waiting(self) -> int:
        """How many submissions wait while others are recorded."""
        return self._submissions.waiting

    async def submit(self, one: Submission) -> Outcome:
        """Record a job, or find the answer that was given before to the same request."""
        return await self._submissions.do(one)

    async def ring(self, *jobs: JobOut) -> None:
        """Tell the workers of jobs that were made or let go on."""
        if wanted := [_to_ring(job) for job in jobs for _ in range(_rings(job))]:
            await self._rings.do(wanted)


def _to_ring(job: JobOut) -> Ring:
    return Ring(job.id, job.resources.gpus, job.resources.nodes)


def _rings(job: JobOut) -> int:
    """How many workers a job is for: one if it is queued, or one for each of its child jobs."""
    if job.children and job.state == State.WAITING:
        return min(job.children, RINGS)
    return 1 if job.state == State.QUEUED else 0


def _ring(celery: Celery, wanted: Sequence[Sequence[Ring]]) -> list[None]:
    ring_all(celery, [one for job in wanted for one in job])
    return [None] * len(wanted)


def submit_together(settings: Settings, database: Database, wanted: Sequence[Submission]) -> list[Outcome | Exception]:
    """Record jobs: for each, in their order, the job, the answer that was given before to the same request, or the
    error that its caller gets.
    """
    try:
        return _Group(settings, database, wanted).record()
    except (IntegrityError, DataError):
        # a key came in twice at the same moment, or a value cannot be stored: the others do not suffer for it
        return [_alone(settings, database, one) for one in wanted]


def _alone(settings: Settings, database: Database, one: Submission) -> Outcome | Exception:
    try:
        return _Group(settings, database, [one]).record()[0]
    except (IntegrityError, DataError) as error:
        return error


class _Group:
    """Submissions on their way into the database; what is wrong with one takes it out and leaves the others."""

    def __init__(self, settings: Settings, database: Database, wanted: Sequence[Submission]) -> None:
        self._settings, self._database, self._wanted = settings, database, wanted
        self._outcomes: dict[int, Outcome | Exception] = {}
        self._asked: dict[int, NewJob] = {}

    def record(self) -> list[Outcome | Exception]:
        """What becomes of each."""
        with self._database.reading() as session:
            self._each(range(len(self._wanted)), lambda place: self._read(session, place))
        with self._database.session() as session:
            self._each(list(self._asked), lambda place: self._check(session, place))
            self._refuse_over_quota(session)
            self._answer(session, self._submit(session))
        return [self._outcomes[place] for place in range(len(self._wanted))]

    def _each(self, places: Sequence[int], step: Callable[[int], None]) -> None:
        for place in places:
            try:
                step(place)
            except MedcossError as error:
                self._end(place, error)

    def _end(self, place: int, outcome: Outcome | Exception) -> None:
        self._asked.pop(place, None)
        self._outcomes[place] = outcome

    def _read(self, session: Session, place: int) -> None:
        one = self._wanted[place]
        project_id = projects.resolve(session, one.caller.scope, one.request.project)
        asked = new_job(one.request, project_id, self._settings, one.request.depends_on)
        self._asked[place] = replace(asked, trace=one.trace)

    def _check(self, session: Session, place: int) -> None:
        one, asked = self._wanted[place], self._asked[place]
        known = once.find(session, one.ticket) if one.ticket else None
        if known is not None:
            self._end(place, known)
            return
        inputs.check(session, asked)
        jobs.check_submission(session, asked, one.caller.owner, None)

    def _by_owner(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for place in self._asked:
            found.setdefault(self._wanted[place].caller.owner, []).append(place)
        return found

    def _refuse_over_quota(self, session: Session) -> None:
        quota = self._settings.quota_queued
        if quota is None:
            return
        for owner, places in self._by_owner().items():
            count = jobs.unfinished(session, owner)
            for place in places:
                refusal = jobs.over_quota(owner, count, quota)
                if refusal is not None:
                    self._end(place, refusal)
                else:
                    count += 1

    def _submit(self, session: Session) -> dict[int, Job]:
        rows: dict[int, Job] = {}
        for owner, places in self._by_owner().items():
            made = jobs.submit_all(session, [self._asked[place] for place in places], created_by=owner)
            rows |= dict(zip(places, made, strict=True))
        return rows

    def _answer(self, session: Session, rows: dict[int, Job]) -> None:
        # what none of them was given is not looked for
        given = {"tags": any(one.tags for one in self._asked.values()),
                 "depends_on": any(one.depends_on for one in self._asked.values())}  # fmt: skip
        wanted = EVERY_JOB_FIELD - {name for name, is_given in given.items() if not is_given}
        views = job_views(session, list(rows.values()), wanted, self._settings.quota_running)
        for place, job in zip(rows, views, strict=True):
            body, ticket = job.model_dump_json(), self._wanted[place].ticket
            if ticket:
                once.keep(session, ticket, Answer(201, body), job.id)
            self._end(place, Submitted(job, body))
