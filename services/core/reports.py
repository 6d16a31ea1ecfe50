"""What jobs report, read from where a reader stands: state changes, metrics and log lines by number.

A job's rows are numbered only while its row in `jobs` is locked (see `services.core.jobs.add_event`), and the lock is
held until the commit. So the numbers of ONE job become visible in their order: a reader that has seen row 10 of a job
has seen its row 9. Numbers of different jobs may become visible in any order; `services.core.feed` is for those.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import JSON, BigInteger, cast, func, literal, select
from sqlalchemy.orm import Session

from services.core.lifecycle import TERMINAL, State
from services.core.tables import Job, JobEvent, JobLog, JobMetric

Row = JobEvent | JobMetric | JobLog
TABLES: dict[str, Any] = {"events": JobEvent, "metrics": JobMetric, "logs": JobLog}
LARGEST = 2**63 - 1
_POSITION = re.compile(r"e(\d{1,19})\.m(\d{1,19})\.l(\d{1,19})(\.end)?")


@dataclass(frozen=True)
class Position:
    """The last rows of a job that a reader has; `ended` when it has been told of the end, too."""

    events: int = 0
    metrics: int = 0
    logs: int = 0
    ended: bool = False

    @classmethod
    def parse(cls, text: str) -> "Position":
        """The position that was written as text. Raises ValueError."""
        found = _POSITION.fullmatch(text) if text.isascii() else None
        if found is None:
            raise ValueError("expected an id of this stream, like e12.m340.l77")
        events, metrics, logs = (min(int(number), LARGEST) for number in found.groups()[:3])
        return cls(events, metrics, logs, found.group(4) is not None)

    def __str__(self) -> str:
        return f"e{self.events}.m{self.metrics}.l{self.logs}{'.end' if self.ended else ''}"

    def of(self, table: str) -> int:
        """The last row of one table."""
        return int(getattr(self, table))

    def after(self, table: str, seq: int) -> "Position":
        """The position once this row is read, too."""
        numbers = {name: seq if name == table else self.of(name) for name in TABLES}
        return Position(**numbers, ended=self.ended)


@dataclass(frozen=True)
class Standing:
    """Where a job stands at one moment."""

    job_id: str
    project_id: str
    state: str
    attempt: int
    done: int | None
    total: int | None
    message: str | None
    eta_s: float | None

    @property
    def ended(self) -> bool:
        """True when it will report nothing more."""
        return State(self.state) in TERMINAL


@dataclass(frozen=True)
class News:
    """Rows by table, in order; `whole` when there were no more. Where the jobs stood BEFORE the rows were read."""

    standings: dict[str, Standing]
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    whole: bool = True


def standings(session: Session, job_ids: Sequence[str]) -> dict[str, Standing]:
    """Where these jobs stand; those that are gone are missing."""
    columns = (Job.id, Job.project_id, Job.state, Job.attempt, Job.done, Job.total, Job.message, Job.eta_s)
    return {row.id: Standing(*row) for row in session.execute(select(*columns).where(Job.id.in_(job_ids)))}


def end_of(session: Session, job_id: str) -> Position:
    """The last rows of a job that can be seen now."""
    last = [select(func.max(t.seq)).where(t.job_id == job_id).scalar_subquery() for t in TABLES.values()]
    events, metrics, logs = session.execute(select(*last)).one()
    return Position(events or 0, metrics or 0, logs or 0)


def page(session: Session, job_id: str, position: Position, tables: Sequence[str], limit: int) -> News:
    """At most `limit` rows of each table after a position."""
    found = standings(session, [job_id])
    rows: dict[str, Sequence[Row]] = {}
    for name in tables:
        table = TABLES[name]
        following = select(table).where(table.job_id == job_id, table.seq > position.of(name))
        rows[name] = session.scalars(following.order_by(table.seq).limit(limit)).all()
    return News(found, rows, all(len(some) < limit for some in rows.values()))


def news(session: Session, positions: Mapping[str, Mapping[str, int]], job_ids: Sequence[str], limit: int) -> News:
    """What many jobs have reported: `positions` gives, for each table, the last row that is known of each job.

    One statement a table, however many jobs; at most `limit` rows of each, the oldest first.
    """
    found = standings(session, job_ids)
    rows = {name: _newer(session, TABLES[name], known, limit) for name, known in positions.items() if known}
    return News(found, rows, all(len(some) < limit for some in rows.values()))


def _newer(session: Session, table: Any, known: Mapping[str, int], limit: int) -> Sequence[Row]:
    # all positions are one parameter: the statement stays the same
    each = func.json_each_text if session.get_bind().dialect.name == "postgresql" else func.json_each
    reader = each(literal(dict(known), JSON)).table_valued("key", "value").alias("reader")
    newer = (table.job_id == reader.c.key) & (table.seq > cast(reader.c.value, BigInteger))
    return list(session.scalars(select(table).join(reader, newer).order_by(table.seq).limit(limit)))
