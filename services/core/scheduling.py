"""Which queued job runs next, and where: priority, turns between owners, resources, quotas.

Turns are start-time fair queueing (Goyal et al., SIGCOMM 1996) with every job of one cost: a job's turn is one
after its owner's last queued one, but never before the turns that are being served. So a hundred jobs of one
owner and one job of another alternate, and an owner who was away has saved nothing up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Integer, ScalarSelect, Select, and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from services.core.lifecycle import State
from services.core.tables import Job

# reasons of failure that are worth another attempt; wrong input and a spent time limit are not
LOST_WORKER = "lost_worker"
RETRIED = (LOST_WORKER, "killed", "out_of_memory", "storage", "serving", "code")
LONGEST_BACKOFF = timedelta(hours=1)
# as many as workers that may be idle at once; one that has been rung goes on until nothing is left
RINGS = 200


@dataclass(frozen=True)
class Offer:
    """What a worker has free: number of GPUs, their names as in CUDA_VISIBLE_DEVICES, and memory in bytes.

    `all_taken`: it has GPUs, all of them in use, so that jobs which take what is there wait rather than go without.
    `nodes`: on so many machines it can have jobs run, each with `gpus`; None: it runs jobs itself, on its own machine.
    """

    gpus: int = 0
    memory_bytes: int | None = None
    names: tuple[str, ...] = ()
    all_taken: bool = False
    nodes: int | None = None


# a worker without limits: whatever is queued fits
ANYTHING = Offer(gpus=1_000_000, nodes=1_000_000)


def _last_turn(state: State) -> ScalarSelect[int]:
    return (
        select(Job.turn).where(Job.created_by == bindparam("owner"), Job.state == state)
        .order_by(Job.turn.desc()).limit(1).scalar_subquery()
    )  # fmt: skip


# the turn that is being served, and the owner's last ones: each is the first entry of an index, however long the queue
_TURNS = select(
    select(Job.turn).where(Job.state == State.QUEUED, Job.rank == bindparam("its_rank"))
    .order_by(Job.turn).limit(1).scalar_subquery(),
    _last_turn(State.QUEUED), _last_turn(State.WAITING),
)  # fmt: skip


def next_turn(session: Session, owner: str, priority: int) -> int:
    """The turn of a new job."""
    served, *last = session.execute(_TURNS, {"owner": owner, "its_rank": -priority}).one()
    return max(served or 0, *(0 if turn is None else turn + 1 for turn in last))


def next_turns(session: Session, owner: str, priorities: Sequence[int]) -> list[int]:
    """The turns of new jobs of one owner that are submitted together, one behind the other."""
    served: dict[int, int] = {}
    turns: list[int] = []
    for priority in priorities:
        if priority not in served:
            served[priority] = next_turn(session, owner, priority)
        turns.append(max(served[priority], turns[-1] + 1) if turns else served[priority])
    return turns


@cache
def _runnable(all_taken: bool, by_memory: bool, by_owner: bool, place: str) -> Select[Any]:
    """Made once for each kind of worker: to put it together costs as much as to run it."""
    fits = Job.gpus <= bindparam("free_gpus")
    statement = select(Job.id).where(
        Job.state == State.QUEUED,
        or_(Job.not_before.is_(None), Job.not_before <= bindparam("moment")),
        fits if all_taken else or_(Job.gpus.is_(None), fits),
    )
    if place == "here":
        statement = statement.where(Job.nodes.is_(None))
    elif place == "elsewhere":
        statement = statement.where(Job.nodes <= bindparam("free_nodes"))
    if by_memory:
        statement = statement.where(or_(Job.memory_bytes.is_(None), Job.memory_bytes <= bindparam("free_bytes")))
    if by_owner:
        busy = (
            select(Job.created_by).where(Job.state == State.RUNNING).group_by(Job.created_by)
            .having(func.count() >= bindparam("per_owner", type_=Integer()))
        )  # fmt: skip
        statement = statement.where(Job.created_by.not_in(busy))
    return statement.order_by(Job.rank, Job.turn, Job.created_at, Job.id)


def runnable(offer: Offer, moment: datetime, per_owner: int | None) -> tuple[Select[Any], dict[str, Any]]:
    """Ids of the queued jobs that this worker may take now, the next one first: a statement, the same for all workers
    that offer as much in kind, and its values.
    """
    values: dict[str, Any] = {"moment": moment, "free_gpus": offer.gpus}
    if offer.memory_bytes is not None:
        values["free_bytes"] = offer.memory_bytes
    if per_owner is not None:
        values["per_owner"] = per_owner
    place = "here" if offer.nodes is None else "anywhere" if offer == ANYTHING else "elsewhere"
    if place == "elsewhere":
        values["free_nodes"] = offer.nodes
    return _runnable(offer.all_taken, offer.memory_bytes is not None, per_owner is not None, place), values


class Ring(NamedTuple):
    """A queued job that workers are to be told of, and what says which of them: GPUs, and machines if several."""

    job_id: str
    gpus: int | None = None
    nodes: int | None = None


def to_ring(session: Session, moment: datetime) -> list[Ring]:
    """Queued jobs that could run now: up to RINGS that need GPUs, as many that do not, and that need machines."""
    found: list[Ring] = []
    here = Job.nodes.is_(None)
    no_gpu = or_(Job.gpus.is_(None), Job.gpus == 0)
    for condition in (and_(here, Job.gpus > 0), and_(here, no_gpu), Job.nodes.is_not(None)):
        statement, values = runnable(ANYTHING, moment, None)
        some = statement.add_columns(Job.gpus, Job.nodes).where(condition).limit(RINGS)
        found += [Ring(*row) for row in session.execute(some, values)]
    return found


def retry_at(job: Job, reason: str, failures: int, moment: datetime) -> datetime | None:
    """When a failed attempt is tried again; None when it is not. `failures` are the job's earlier ones, without lost
    workers: those are not the job's fault, and cost neither a pause nor a longer one later.
    """
    wanted: Sequence[Any] = RETRIED if job.retry_on is None else job.retry_on
    if reason not in wanted or job.attempt >= job.max_attempts:
        return None
    if reason == LOST_WORKER:
        return moment
    pause: timedelta = min(timedelta(seconds=job.backoff_s) * 2**failures, LONGEST_BACKOFF)
    return moment + pause


def time_run(job: Job, moment: datetime) -> float:
    """Seconds that all attempts of the job have run so far."""
    present = (moment - job.attempt_started_at).total_seconds() if job.attempt_started_at else 0.0
    return job.ran_s + max(present, 0.0)
