"""Jobs that are shared out among child jobs: how far these are, and what their end means for the job.

A child job is a job like others; what it makes lies with the checkpoints of the job, which waits for all of them and
then goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.core import leftovers, shares
from services.core.jobs import cancel_all, ended, open_children, problem
from services.core.lifecycle import State
from services.core.tables import Job


@dataclass
class Children:
    """How many child jobs there are in each state, how many have told of their work, and this, done and in all; and
    how much of it those that run do in a second. `noun` is what they are called together.
    """

    states: dict[str, int] = field(default_factory=dict)
    telling: int = 0
    done: int = 0
    told: int = 0
    pace: float = 0.0
    noun: str = "chunks"

    @property
    def count(self) -> int:
        """Child jobs in all."""
        return sum(self.states.values())

    @property
    def total(self) -> int:
        """The work of all, where each of those that have not told has as much as the others: shares are equal."""
        return round(self.told * self.count / self.telling) if self.telling else 0

    @property
    def eta_s(self) -> float | None:
        """Seconds to go for all of them at the pace of those that run; None while nobody tells of one."""
        return max(self.total - self.done, 0) / self.pace if self.pace > 0 else None

    def in_words(self) -> str:
        """The states, e.g. `2 of 4 chunks are done, 1 running, 1 queued`."""
        done = self.states.get(State.SUCCEEDED, 0)
        others = [f"{n} {state}" for state in State if state != State.SUCCEEDED and (n := self.states.get(state, 0))]
        return ", ".join([f"{done} of {self.count} {self.noun} are done", *others])


def children(session: Session, rows: Sequence[Job]) -> Mapping[str, Children]:
    """The child jobs of those jobs that are shared out: one query, and none where no job is."""
    ids = [row.id for row in rows if row.children]
    if not ids:
        return {}
    found = {row.id: Children(noun=shares.noun(row.kind)) for row in rows if row.children}
    # only what runs has an eta_s
    pace = func.sum((Job.total - Job.done) / func.nullif(Job.eta_s, 0.0))
    counted = (
        select(Job.parent_id, Job.state, func.count(), func.count(Job.total), func.sum(func.coalesce(Job.done, 0)),
               func.sum(Job.total), pace)
        .where(Job.parent_id.in_(ids)).group_by(Job.parent_id, Job.state)
    )  # fmt: skip
    for parent_id, state, number, telling, done, told, per_s in session.execute(counted):
        mine = found[str(parent_id)]
        mine.states[state] = number
        mine.telling, mine.done, mine.told = mine.telling + telling, mine.done + int(done), mine.told + int(told or 0)
        mine.pace += float(per_s or 0.0)
    return found


def why_hopeless(session: Session, job_id: str, other_id: str) -> dict[str, Any]:
    """Why a waiting job fails because another one has ended: as a problem document, that of its child job if it is
    one, with its typed reason.
    """
    asked = select(Job.state, Job.parent_id, Job.error, Job.spec, Job.kind).where(Job.id == other_id)
    state, parent_id, error, spec, kind = session.execute(asked).one()
    if parent_id != job_id:
        why = problem("Dependency failed", f"{other_id} has {ended(state)}", "dependency")
        return why | {"log": [], "advice": [f"see why {other_id} has ended, mend it, and submit both again"]}
    share = f"{shares.share_of(kind, spec)} ({other_id}) has {ended(state)}"
    if state == State.FAILED and error:
        return {**error, "detail": f"{share}: {error['detail']}"}
    made, noun = ("dataset", "chunks") if kind == "preprocess_chunk" else ("result", "runs")
    why = problem(f"{noun[:-1].capitalize()} cancelled", f"{share}; the {made} is made of all {noun}", "dependency")
    return why | {"log": [], "advice": [f"submit the job again, and leave its {noun} alone"]}


def end_all(session: Session, job_id: str) -> None:
    """A job has failed while it waited: cancel its child jobs, and have removed what they have made."""
    job = session.get_one(Job, job_id)
    if job.children:
        leftovers.end_of_job(session, job_id, checkpoints=True)
    cancel_all(session, open_children(session, job))
