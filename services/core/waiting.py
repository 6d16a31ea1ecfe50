"""Why a job does not run yet, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from services.core import workers
from services.core.chunks import Children
from services.core.lifecycle import TERMINAL, State
from services.core.tables import Job, Worker
from services.core.workers import WorkerState

# a longer queue is told as "more than"
COUNTED = 1000
FOR_A_FREE_ONE = "waits for a free worker"


@dataclass(frozen=True)
class Surroundings:
    """What several jobs wait for together: the workers that take jobs, and how many jobs each owner runs."""

    moment: datetime
    workers: Sequence[Worker] = ()
    running: Mapping[str, int] | None = None
    quota: int | None = None


def taking(session: Session, moment: datetime) -> list[Worker]:
    """The workers that take jobs."""
    return [w for w in workers.alive(session, moment) if w.state != WorkerState.DRAINING]


def surroundings(session: Session, rows: Sequence[Job], moment: datetime, quota: int | None) -> Surroundings:
    """What the queued ones of these jobs wait for: two queries at most, however many jobs there are."""
    owners = {row.created_by for row in rows if row.state == State.QUEUED}
    if not owners:
        return Surroundings(moment)
    takers = taking(session, moment)
    if quota is None:
        return Surroundings(moment, takers)
    counts = (
        select(Job.created_by, func.count()).where(Job.state == State.RUNNING, Job.created_by.in_(sorted(owners)))
        .group_by(Job.created_by)
    )  # fmt: skip
    return Surroundings(moment, takers, {row[0]: row[1] for row in session.execute(counts)}, quota)


def why(row: Job, needed: Mapping[str, str], around: Surroundings, children: Children | None = None) -> str | None:
    """Why the job does not run, or what a running one is about to do; None when there is nothing to say.

    `needed` are the jobs that it waits for, with their states; `children` are its own.
    """
    if row.state == State.WAITING:
        open_ones = [job_id for job_id, state in needed.items() if state not in TERMINAL]
        if open_ones:
            return f"waits for {', '.join(open_ones)}"
        if children is not None and children.states.get(State.SUCCEEDED, 0) < children.count:
            return f"waits for its {children.noun}: {children.in_words()}"
        return "is about to be queued"
    if row.state == State.RUNNING and row.stop_order:
        return "is being cancelled" if row.stop_order == "cancel" else "is being paused"
    if row.state == State.PAUSED and (row.error or {}).get("reason") == "time_limit":
        return f"its time limit of {row.time_limit_s:g} s is over; raise time_limit_s and resume it, or cancel it"
    if row.state != State.QUEUED:
        return None
    if row.not_before is not None and row.not_before > around.moment:
        return f"attempt {row.attempt} has failed; the next one starts at {row.not_before:%Y-%m-%d %H:%M:%S} UTC"
    over = full_quota(row.created_by, around)
    return over or lacking(row.gpus, row.memory_bytes, around.workers, row.nodes) or _for_a_free_one(row)


def full_quota(owner: str, around: Surroundings) -> str | None:
    """That the owner runs as many jobs as are allowed; None when there is room."""
    count = (around.running or {}).get(owner, 0)
    if around.quota is None or count < around.quota:
        return None
    return f"{owner} runs {count} jobs, {around.quota} are allowed at once; it starts when one of them has ended"


def lacking(gpus: int | None, memory_bytes: int | None, alive: Sequence[Worker],
            nodes: int | None = None) -> str | None:  # fmt: skip
    """That none of these workers has what a job wants, and what the largest has; None when one does. `nodes` is the
    number of machines that it runs on, None for one.
    """
    if nodes is not None:
        return _lacking_machines(nodes, gpus or 0, alive)
    alive = [worker for worker in alive if worker.nodes is None]
    if not alive:
        return "no worker is alive; it starts when one is started"
    if any(_fits(worker, gpus or 0, memory_bytes or 0) for worker in alive):
        return None
    most_gpus, most_memory = max(w.gpus for w in alive), max(w.memory_bytes or 0 for w in alive)
    wanted, found = wanted_words(gpus, memory_bytes), []
    if (gpus or 0) > most_gpus:
        found.append(f"{most_gpus} GPU{'' if most_gpus == 1 else 's'}" if most_gpus else "no GPU")
    if all(w.memory_bytes is not None for w in alive) and (memory_bytes or 0) > most_memory:
        found.append(_gib(most_memory))
    largest = f"the largest has {' and '.join(found)}" if found else "none has both"
    return f"no worker that is alive offers {wanted}; {largest}"


def _lacking_machines(nodes: int, gpus: int, alive: Sequence[Worker]) -> str | None:
    launching = [worker for worker in alive if worker.nodes is not None]
    if not launching:
        return (
            f"it runs on {nodes} machines, and no worker is alive that has jobs run on several "
            "(docs/deploy/several-machines.md); submit it without resources.nodes to run it on one"
        )
    if any((worker.nodes or 0) >= nodes and worker.gpus >= gpus for worker in launching):
        return None
    each = f" with {wanted_words(gpus, None)} each" if gpus else ""
    most, most_gpus = max(worker.nodes or 0 for worker in launching), max(worker.gpus for worker in launching)
    return (
        f"no worker that is alive has jobs run on {nodes} machines{each}; the largest offers {most} with {most_gpus} "
        "GPUs each"
    )


def _fits(worker: Worker, gpus: int, memory_bytes: int) -> bool:
    return worker.gpus >= gpus and (worker.memory_bytes is None or worker.memory_bytes >= memory_bytes)


def wanted_words(gpus: int | None, memory_bytes: int | None) -> str:
    """The resources that a job asks for on a machine, in words; empty when it takes what there is."""
    parts = [f"{gpus} GPU{'s' if gpus > 1 else ''}"] if gpus else []
    parts += [_gib(memory_bytes)] if memory_bytes else []
    return " and ".join(parts)


def _gib(count: int) -> str:
    return f"{count / 2**30:.3g} GiB of memory"


def _for_a_free_one(row: Job) -> str:
    wanted = wanted_words(row.gpus, row.memory_bytes)
    if row.nodes is not None:
        return f"{FOR_A_FREE_ONE} that has {row.nodes} machines free{' to go on' if row.started_at else ''}"
    return f"{FOR_A_FREE_ONE}{f' with {wanted}' if wanted else ''}{' to go on' if row.started_at else ''}"


def ahead(session: Session, row: Job, moment: datetime) -> int:
    """Queued jobs that could run now and come before this one, COUNTED + 1 at most."""
    place = tuple_(Job.rank, Job.turn, Job.created_at, Job.id) < tuple_(row.rank, row.turn, row.created_at, row.id)
    first = (
        select(Job.id).where(Job.state == State.QUEUED, or_(Job.not_before.is_(None), Job.not_before <= moment), place)
        .limit(COUNTED + 1)
    )  # fmt: skip
    return int(session.scalars(select(func.count()).select_from(first.subquery())).one())


def position(count: int) -> str:
    """How many jobs are ahead, in words."""
    if count == 0:
        return "it is the next in the queue"
    if count == 1:
        return "1 job is ahead of it in the queue"
    return f"{f'more than {COUNTED}' if count > COUNTED else count} jobs are ahead of it in the queue"
