"""The faults: which, when and where is a pure function of the seed; how each is done to the platform."""

import glob
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import select

from benchmarks._chaos_platform import Part, Platform
from services.core.lifecycle import State
from services.core.tables import Job

# how often each stands in a deck of faults
DECK = {
    "kill worker": 3, "kill trainer": 3, "kill worker and trainer": 2, "freeze worker": 2, "freeze trainer": 1,
    "freeze worker and trainer": 2, "kill control plane": 2, "freeze control plane": 1, "kill beat": 1,
    "freeze beat": 1, "kill redis, memory lost": 2, "cut s3": 2, "stall s3": 1, "cut database": 2, "stall database": 1,
}  # fmt: skip
PHASES = ("claim", "start", "download", "training", "checkpoint", "publishing", "end")
# what is there once a job has made what it was asked for, and stores it
MADE = ("model/model.safetensors", "dataset/meta.json", "buffer/meta.json")
WITHOUT_TRAINER = frozenset({"idle", "claim", "end"})
# the longest pause before a fault, and the time that its phase is waited for; in quick runs
PAUSE_S, AIM_S = 6.0, 5.0
QUICK_PAUSE_S, QUICK_AIM_S = 2.0, 1.0
# so long, if nobody is there to be struck
LONGEST_AIM_S = 30.0
LOOK_S = 0.02


@dataclass(frozen=True)
class Fault:
    """One fault: after a pause of `after_s`, strike a worker in `phase` if one comes there soon; it lasts `hold_s`."""

    number: int
    kind: str
    phase: str
    worker: int
    after_s: float
    hold_s: float


def schedule(seed: int, count: int, lease_s: float, longest_pause_s: float = PAUSE_S) -> list[Fault]:
    """The faults of a seed. Freezes outlast the lease, cuts may; a killed part is away for up to two seconds."""
    rng = random.Random(f"faults {seed}")
    deck: list[str] = []
    faults = []
    for number in range(1, count + 1):
        if not deck:
            deck = [kind for kind, often in DECK.items() for _ in range(often)]
            rng.shuffle(deck)
        kind = deck.pop()
        verb = kind.split()[0]
        bounds = {"kill": (0.1, 2.0), "freeze": (1.2 * lease_s, 2.0 * lease_s), "cut": (0.5, 1.5 * lease_s),
                  "stall": (0.5, 1.5 * lease_s)}[verb]  # fmt: skip
        faults.append(
            Fault(
                number,
                kind,
                rng.choice(PHASES),
                rng.randrange(1000),
                rng.uniform(0.5, longest_pause_s),
                rng.uniform(*bounds),
            )
        )
    return faults


@dataclass
class Strike:
    """A fault that was done: to whom, in which phase of which job, and what ends it."""

    target: str
    phase: str
    job_id: str
    undo: Callable[[], None] | None = None


class Striker:
    """Does faults to a platform. One that is in force already is not done again: `busy` names those."""

    def __init__(self, platform: Platform, aim_s: float) -> None:
        self.platform, self.aim_s = platform, aim_s
        self.busy: set[str] = set()

    def strike(self, fault: Fault, tick: Callable[[], None]) -> Strike:
        """Wait a little for the wished phase, calling `tick` meanwhile, and do the fault."""
        worker, phase, job_id = self._aim(fault, tick)
        verb, _, target = fault.kind.partition(" ")
        relay = {"s3": self.platform.s3_relay, "database": self.platform.database_relay}.get(target)
        if relay is not None:
            relay.cut() if verb == "cut" else relay.stall()
            return Strike(target, phase, job_id, relay.mend)
        if target.startswith("redis"):
            self.platform.lose_redis_memory(fault.hold_s)
            return Strike("redis", phase, job_id)
        part = worker if target in {"worker", "trainer", "worker and trainer"} else self.platform.parts[target]
        victims = self._victims(part, target)
        if verb == "kill":
            if part.process.pid in [v.pid for v in victims]:
                self.platform.kill(part, fault.hold_s)
            for victim in victims:
                _signal(victim, psutil.Process.kill)
            return Strike(_names(part, victims, target), phase, job_id)
        for victim in victims:
            _signal(victim, psutil.Process.suspend)
        return Strike(_names(part, victims, target), phase, job_id, lambda: _resume(victims))

    def _victims(self, part: Part, target: str) -> list[psutil.Process]:
        found = []
        if target != "trainer" and part.process.pid is not None:
            found.append(psutil.Process(part.process.pid))
            if target == "beat":
                # it has a child that keeps the time
                found += found[0].children(recursive=True)
        if "trainer" in target and (trainer := self.platform.trainer(part)) is not None:
            found.append(trainer)
        return found

    def _aim(self, fault: Fault, tick: Callable[[], None]) -> tuple[Part, str, str]:
        workers = self.platform.workers
        first = fault.worker % len(workers)
        order = workers[first:] + workers[:first]
        useless = WITHOUT_TRAINER if "trainer" in fault.kind else frozenset({"idle"})
        began = time.monotonic()
        while True:
            seen = [(worker, *phase_of(self.platform, worker)) for worker in order]
            busy = [each for each in seen if each[1] not in useless]
            hit = next((each for each in busy if each[1] == fault.phase), None)
            waited = time.monotonic() - began
            if hit or (busy and waited > self.aim_s) or waited > LONGEST_AIM_S:
                return hit or (busy or seen)[0]
            tick()
            time.sleep(LOOK_S)


def _signal(process: psutil.Process, act: Callable[[psutil.Process], None]) -> None:
    try:
        act(process)
    except psutil.NoSuchProcess:
        return


def _resume(victims: list[psutil.Process]) -> None:
    for victim in victims:
        # psutil knows a process from another one that has got its number
        if victim.is_running():
            _signal(victim, psutil.Process.resume)


def _names(part: Part, victims: list[psutil.Process], target: str) -> str:
    """Who was hit: the part, its trainer, both or nobody."""
    if not victims:
        return f"nobody ({part.name} has no trainer)"
    return part.name if target != "trainer" else f"trainer of {part.name}"


def phase_of(platform: Platform, worker: Part) -> tuple[str, str]:
    """What the worker is doing, and for which job: one of PHASES, or `idle`.

    `claim` and `end` are a running job without a process: not yet, or no longer.
    """
    trainer = platform.trainer(worker)
    if trainer is None:
        return _without_trainer(platform, worker)
    try:
        # it holds the lock of its attempt's folder
        locks = [Path(file.path) for file in trainer.open_files() if file.path.endswith(".lock")]
    except psutil.Error:
        return "end", ""
    folder = next((lock.with_suffix("") for lock in locks), Path("/nowhere"))
    job_id = folder.name.rpartition("-")[0]
    if any((folder / last).is_file() for last in MADE):
        return "publishing", job_id
    # unlike Path.glob it bears that a folder ends while it is being looked at
    if glob.glob("tmp*/*", root_dir=folder):  # noqa: PTH207
        return "checkpoint", job_id
    partial = platform.data / "cache" / "partial"
    if partial.is_dir() and any(partial.iterdir()):
        return "download", job_id
    with platform.database.reading() as session:
        message = session.scalars(select(Job.message).where(Job.id == job_id)).first()
    return ("training" if message else "start"), job_id


def _without_trainer(platform: Platform, worker: Part) -> tuple[str, str]:
    if worker.process.pid is None:
        return "idle", ""
    with platform.database.reading() as session:
        mine = select(Job.id, Job.message).where(
            Job.state == State.RUNNING, Job.worker.endswith(f":{worker.process.pid}")
        )
        row = session.execute(mine).first()
    return ("idle", "") if row is None else ("end" if row[1] else "claim", row[0])
