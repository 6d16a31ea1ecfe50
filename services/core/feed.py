"""State changes of all jobs in one order, and how far that order is settled.

Numbers of rows are drawn before the commit, so that on PostgreSQL row 10 may be seen while row 9 is still to come. But
whoever draws a number holds the table's writing lock (ROW EXCLUSIVE) from before that until its commit is visible. So:
look at the last number N that can be seen; then at who holds the lock; once all of those have let go, no number up to
N is still to come. Nothing is written for this, and only writers of this very table hold it back. On SQLite there is
one writer at a time, and numbers are never used again (AUTOINCREMENT): what can be seen is settled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from services.core.scope import Scope
from services.core.tables import Job, JobEvent

_WRITERS = text(
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND granted AND mode = 'RowExclusiveLock' "
    "AND relation = 'job_events'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Horizon:
    """Follows, over several looks, the number up to which the rows of `job_events` are settled."""

    def __init__(self) -> None:
        self.settled = 0
        self._next: tuple[int, frozenset[str]] | None = None

    def look(self, session: Session) -> int:
        """The number up to which all rows can be seen by whoever reads after this."""
        if session.get_bind().dialect.name != "postgresql":
            self.settled = max(self.settled, _last(session))
            return self.settled
        if self._next is None:
            last = _last(session)
            if last <= self.settled:
                return self.settled
            # after the number was read, or one that came between would be missed
            self._next = (last, frozenset(session.scalars(_WRITERS)))
        elif self._next[1]:
            self._next = (self._next[0], self._next[1] & frozenset(session.scalars(_WRITERS)))
        last, writers = self._next
        if not writers:
            self.settled, self._next = last, None
        return self.settled


def _last(session: Session) -> int:
    return session.scalars(select(func.max(JobEvent.seq))).one() or 0


@dataclass(frozen=True)
class Change:
    """One state change, with what tells whose it is."""

    seq: int
    job_id: str
    project_id: str
    kind: str
    name: str
    attempt: int
    type: str
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True)
class Choice:
    """Which changes somebody wants and may see."""

    scope: Scope
    job_id: str | None = None
    kind: str | None = None

    def takes(self, change: Change) -> bool:
        """True for a change that is wanted and may be seen."""
        return (
            self.scope.sees(change.project_id)
            and self.job_id in {None, change.job_id}
            and self.kind in {None, change.kind}
        )


def changes(session: Session, after: int, until: int, choice: Choice, limit: int) -> Sequence[Change]:
    """Changes behind the number `after` and up to `until`, in order."""
    statement = (
        select(JobEvent.seq, JobEvent.job_id, Job.project_id, Job.kind, Job.name, JobEvent.attempt, JobEvent.type,
               JobEvent.data, JobEvent.at)
        .join(Job, Job.id == JobEvent.job_id)
        .where(JobEvent.seq > after, JobEvent.seq <= until, choice.scope.among(Job.project_id))
        .order_by(JobEvent.seq).limit(limit)
    )  # fmt: skip
    if choice.job_id is not None:
        statement = statement.where(JobEvent.job_id == choice.job_id)
    if choice.kind is not None:
        statement = statement.where(Job.kind == choice.kind)
    return [Change(*row) for row in session.execute(statement)]
