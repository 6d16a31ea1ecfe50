"""The log of a job, searched: its lines by level and by what they hold, from the beginning or from the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.core import jobs
from services.core.scope import Scope
from services.core.tables import JobLog

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class LogQuestion:
    """Which lines are wanted: those after one and before another by number, of a level or above, that hold a text
    without regard to case. With `before` the nearest to it are read, else the nearest to `after`.
    """

    after: int = 0
    before: int | None = None
    limit: int = 1000
    contains: str | None = None
    level: Level | None = None
    count: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines in order. Everything up to the row `next` has been looked through; `matches` lines of the whole log hold
    what was asked for, None where that was not asked.
    """

    rows: Sequence[JobLog]
    next: int
    matches: int | None


def lines(session: Session, scope: Scope, job_id: str, asked: LogQuestion) -> Lines:
    """The lines of a job's log that are asked for. NotFound when there is no such job."""
    jobs.get(session, scope, job_id)
    mine = JobLog.job_id == job_id
    # lines that come meanwhile are those of the next answer
    newest = session.scalar(select(func.max(JobLog.seq)).where(mine)) or 0
    end = newest if asked.before is None else min(asked.before - 1, newest)
    held = [mine, JobLog.seq <= newest, *_holds(asked)]
    near = JobLog.seq.desc() if asked.before is not None else JobLog.seq.asc()
    found = select(JobLog).where(*held, JobLog.seq > asked.after, JobLog.seq <= end).order_by(near).limit(asked.limit)
    rows = sorted(session.scalars(found), key=lambda row: row.seq)
    matches = session.scalar(select(func.count()).select_from(JobLog).where(*held)) if asked.count else None
    cut = asked.before is None and len(rows) == asked.limit
    return Lines(rows, rows[-1].seq if cut else max(asked.after, end), matches)


def _holds(asked: LogQuestion) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if asked.level is not None:
        levels = get_args(Level)
        wanted.append(JobLog.level.in_(levels[levels.index(asked.level) :]))
    if asked.contains is not None:
        wanted.append(JobLog.message.icontains(asked.contains, autoescape=True))
    return wanted
