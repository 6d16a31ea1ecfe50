"""Jobs that are shared out among child jobs: how far these are, and what their end means for the job.

A child job is a job like others; what it makes lies with the checkpoints of the job, which waits for all of them and
then goes on from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.core import leftovers
from services.core.jobs import ended, open_children, problem, request_cancel
from services.core.lifecycle import State
from services.core.scope import EVERYTHING
from services.core.tables import Job


@dataclass
class Children:
    """How many child jobs there are in each state, how many have told of their inputs, and these, done and in all."""

    states: dict[str, int] = field(default_factory=dict)
    telling: int = 0
    done: int = 0
    told: int = 0

    @property
    def count(self) -> int:
        """Child jobs in all."""
        return sum(self.states.values())

    @property
    def total(self) -> int:
        """Inputs of all, where each of those that have not told has as many as the others: shares are equal."""
        return round(self.told * self.count / self.telling) if self.telling else 0

    def in_words(self) -> str:
        """The states, e.g. `2 of 4 chunks are done, 1 running, 1 queued`."""
        done = self.states.get(State.SUCCEEDED, 0)
        others = [f"{n} {state}" for state in State if state != State.SUCCEEDED and (n := self.states.get(state, 0))]
        return ", ".join([f"{done} of {self.count} chunks are done", *others])


def children(session: Session, rows: Sequence[Job]) -> Mapping[str, Children]:
    """The child jobs of those jobs that are shared out: one query, and none where no job is."""
    ids = [row.id for row in rows if row.children]
    if not ids:
        return {}
    found = {job_id: Children() for job_id in ids}
    counted = (
        select(Job.parent_id, Job.state, func.count(), func.count(Job.total), func.sum(func.coalesce(Job.done, 0)),
               func.sum(Job.total))
        .where(Job.parent_id.in_(ids)).group_by(Job.parent_id, Job.state)
    )  # fmt: skip
    for parent_id, state, number, telling, done, told in session.execute(counted):
        mine = found[str(parent_id)]
        mine.states[state] = number
        mine.telling, mine.done, mine.told = mine.telling + telling, mine.done + int(done), mine.told + int(told or 0)
    return found


def why_hopeless(session: Session, job_id: str, other_id: str) -> dict[str, Any]:
    """Why a waiting job fails because another one has ended: as a problem document, that of its child job if it is
    one, with its typed reason.
    """
    asked = select(Job.state, Job.parent_id, Job.error, Job.spec).where(Job.id == other_id)
    state, parent_id, error, spec = session.execute(asked).one()
    if parent_id != job_id:
        why = problem("Dependency failed", f"{other_id} has {ended(state)}", "dependency")
        return why | {"log": [], "advice": [f"see why {other_id} has ended, mend it, and submit both again"]}
    chunk = f"chunk {spec['chunk'] + 1} of {spec['chunks']} ({other_id}) has {ended(state)}"
    if state == State.FAILED and error:
        return {**error, "detail": f"{chunk}: {error['detail']}"}
    why = problem("Chunk cancelled", f"{chunk}; the dataset is made of all chunks", "dependency")
    return why | {"log": [], "advice": ["submit the job again, and leave its chunks alone"]}


def end_all(session: Session, job_id: str) -> None:
    """A job has failed while it waited: cancel its child jobs, and have removed what they have made."""
    job = session.get_one(Job, job_id)
    if job.children:
        leftovers.end_of_job(session, job_id, checkpoints=True)
    for child in open_children(session, job):
        request_cancel(session, EVERYTHING, child.id)
