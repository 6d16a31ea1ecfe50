"""Faults on a real platform: kills, freezes and cuts at random, and afterwards everything has to be right.

    python benchmarks/chaos.py --seed 1 --faults 200

Starts Redis, SeaweedFS, PostgreSQL, the control plane, beat and several workers as processes, lets users submit short
jobs of many kinds, and does one fault after another; faults and jobs are a pure function of the seed, the moments at
which they meet are not. Exits with 1 when anything is violated; logs are kept below --out.
"""

import argparse
import heapq
import itertools
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# before torch: its threads would spin while they wait
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import psutil
from sqlalchemy import func, select

from benchmarks import _chaos_checks as checks
from benchmarks._chaos_faults import AIM_S, PAUSE_S, QUICK_AIM_S, QUICK_PAUSE_S, Fault, Strike, Striker, schedule
from benchmarks._chaos_jobs import TEMPLATES, Ids, stories, write_data
from benchmarks._chaos_platform import KEY, Platform, Times
from benchmarks._chaos_users import Crowd, Diary, User, reference, upload
from benchmarks._machine import cores
from services.core.tables import Job, JobEvent, Leftover
from services.worker.child import NAME

TICK_S = 0.1
# generous: the machine may be busy with other things
STEP_S = 120.0
QUICK = ("images", "encoder")
QUICK_TIMES = Times(lease_s=3.0, heartbeat_s=0.3)


class Run:
    """One run: the platform, its users, the faults, and what was wrong."""

    def __init__(self, options: argparse.Namespace, out: Path) -> None:
        self.options, self.began = options, time.monotonic()
        self.templates = QUICK if options.quick else tuple(TEMPLATES)
        self.platform = Platform(out, options.workers, QUICK_TIMES if options.quick else Times())
        self.striker = Striker(self.platform, QUICK_AIM_S if options.quick else AIM_S)
        self.diary = Diary()
        self.ids: Ids = {}
        self.done: list[tuple[Fault, Strike]] = []
        self._undo: list[tuple[float, int, str, Callable[[], None]]] = []
        self._order = itertools.count()

    def say(self, text: str) -> None:
        """A line of progress, with the time since the start."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"{minutes:3d}:{seconds:02d}  {text}", flush=True)

    def tick(self) -> None:
        """Start dead parts again, and end the faults whose time is over."""
        self.platform.tick()
        while self._undo and self._undo[0][0] <= time.monotonic():
            _, _, target, undo = heapq.heappop(self._undo)
            undo()
            self.striker.busy.discard(target)

    def until(self, done: Callable[[], bool], what: str, bound_s: float) -> bool:
        """Tick until `done`; False, and a violation, when it takes longer than the bound."""
        end = time.monotonic() + bound_s
        while not done():
            if time.monotonic() > end:
                self.diary.complain(f"{what}: not within {bound_s:g} s")
                return False
            self.tick()
            time.sleep(TICK_S)
        return True

    def pause(self, seconds: float) -> None:
        """Tick for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.tick()
            time.sleep(TICK_S)

    def user(self) -> User:
        """A new user."""
        return User(self.platform.url, KEY, self.ids, self.diary, f"seed{self.options.seed}", self.over)

    def prepare(self) -> None:
        """Start the platform, upload the data, and run every template once undisturbed."""
        self.over = threading.Event()
        self.platform.start()
        self.say(f"the platform runs, {len(self.platform.workers)} workers; logs: {self.platform.data / 'logs'}")
        user = self.user()
        for name, folder in write_data(self.platform.out / "files").items():
            self.ids[f"raw {name}"] = upload(user, folder, name, "mr" if name == "mr" else "xray").id
        reference(user, self.templates, self.tick, STEP_S)
        self.say(f"undisturbed: {', '.join(self.templates)}")

    def disturb(self) -> None:
        """Do the faults while users work."""
        told = stories(self.options.seed, self.templates)
        self.crowd = Crowd(self.options.users, self.user, told)
        began = time.monotonic()
        pause_s = QUICK_PAUSE_S if self.options.quick else PAUSE_S
        faults = schedule(self.options.seed, self.options.faults, self.platform.times.lease_s, pause_s)
        for fault in faults:
            self.pause(fault.after_s)
            target = fault.kind.split()[-1]
            # one that is still in force ends before the same part is struck again
            self.until(lambda target=target: target not in self.striker.busy, f"end of the fault on {target}", STEP_S)
            strike = self.striker.strike(fault, self.tick)
            self.done.append((fault, strike))
            if strike.undo is not None:
                self.striker.busy.add(target)
                item = (time.monotonic() + fault.hold_s, next(self._order), target, strike.undo)
                heapq.heappush(self._undo, item)
            self._tell(fault, strike, began)

    def _tell(self, fault: Fault, strike: Strike, began: float) -> None:
        eta_s = (time.monotonic() - began) / fault.number * (self.options.faults - fault.number)
        where = f" in {strike.phase} of {strike.job_id}" if strike.job_id else f" ({strike.phase})"
        self.say(
            f"{fault.number:3d}/{self.options.faults} {fault.kind}, {fault.hold_s:.1f} s: "
            f"{strike.target}{where}; stories {self.crowd.ended}/{self.crowd.begun}, about {eta_s / 60:.0f} min left"
        )

    def settle(self) -> None:
        """Let everything come to its end: faults, stories, a last job, zombies, and what nobody owns."""
        self.crowd.closing.set()
        self.until(lambda: not self._undo, "end of the last fault", STEP_S)
        self.say("no more faults; every job has to come to its end")
        self.until(lambda: self.crowd.gone, "end of all stories", self.options.bound_s)
        self.over.set()
        last = User(self.platform.url, KEY, self.ids, self.diary, "last", type(self.over)())
        job = last.submit(next(stories(0, ("images",))), "job", "preprocess", TEMPLATES["images"].spec(self.ids),
                          ("succeeded", "images", None))  # fmt: skip
        self.until(lambda: last.client.jobs.get(job.id).ended, "end of a last job", STEP_S)
        self.until(lambda: not any(self.platform.trainer(w) for w in self.platform.workers), "end of trainers", STEP_S)
        self.until(lambda: not self._zombies(), "end of trainers whose worker has gone", STEP_S)
        self.until(lambda: not self._unreserved(), "end of reservations of ended attempts", STEP_S)
        checks.advance(self.platform.database)
        self.until(lambda: not checks.leftovers(self.platform.database), "removal of what nobody owns", STEP_S)

    def _zombies(self) -> list[psutil.Process]:
        own = {worker.process.pid for worker in self.platform.workers}
        found = []
        for process in self.platform.family():
            try:
                if process.name() == NAME and not own & {parent.pid for parent in process.parents()}:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def _unreserved(self) -> bool:
        """True while a prefix is reserved by an attempt although none runs: the next sweep finds it."""
        with self.platform.database.reading() as session:
            return bool(session.scalars(select(Leftover.prefix).where(Leftover.remove_at.is_(None))).all())

    def judge(self) -> list[str]:
        """All violations, once the platform has been stopped in order."""
        wrong = list(self.diary.complaints)
        self.say("checking jobs, outputs and objects")
        wrong += checks.everything(self.platform.database, self.platform.store, self.diary.expected, self.ids)
        self.platform.stop_services()
        keep = {part.process.pid for part in self.platform.parts.values()}
        foreign = [p for p in self.platform.family() if p.pid not in keep and "weed" not in p.name()]
        wrong += [f"process {p.pid} was left behind: {' '.join(p.cmdline())[:120]}" for p in foreign if p.is_running()]
        return wrong + checks.folders(self.platform.settings.cache_dir)

    def table(self, wrong: list[str]) -> None:
        """What was done and how it ended."""
        print(f"\nseed {self.options.seed}, {len(self.done)} faults, {len(self.platform.workers)} workers, "
              f"{self.options.users} users; {time.monotonic() - self.began:.0f} s on {cores()}")  # fmt: skip
        for title, counts in (
            ("faults", Counter(fault.kind for fault, _ in self.done)),
            ("phases struck", Counter(strike.phase for _, strike in self.done)),
            ("jobs", self._count(Job.state)),
            ("ends of failed attempts", self._reasons()),
        ):
            print(f"{title}: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
        print(f"requests tried again by users: {self.diary.again}")
        print(f"parts that ended by themselves and were started again: {len(self.platform.deaths)}")
        for line in self.platform.deaths:
            print(f"  {line}")
        print(f"violations: {len(wrong)}")
        for line in wrong:
            print(f"  {line}")

    def _count(self, column: object) -> Counter[str]:
        with self.platform.database.reading() as session:
            rows = session.execute(select(column, func.count()).group_by(column))  # type: ignore[call-overload]
            return Counter({str(name): count for name, count in rows})

    def _reasons(self) -> Counter[str]:
        with self.platform.database.reading() as session:
            data = session.scalars(select(JobEvent.data).where(JobEvent.type == "attempt_failed"))
            return Counter(str(entry["problem"]["reason"]) for entry in data)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of faults and jobs")
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--users", type=int, default=6, help="stories that are told at once")
    parser.add_argument("--bound-s", type=float, default=600, help="time for all jobs to end after the last fault")
    parser.add_argument("--quick", action="store_true", help="fewer kinds of jobs, shorter leases and pauses")
    parser.add_argument("--out", type=Path, help="folder for data and logs; kept. Default: a folder that is removed "
                        "when nothing is violated")  # fmt: skip
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when nothing was violated."""
    options = _options(arguments)
    # whoever ends the run ends its platform in order
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = options.out or Path(tempfile.mkdtemp(prefix="medcoss-chaos-"))
    run = Run(options, out)
    wrong = ["the run was not finished"]
    try:
        run.prepare()
        run.disturb()
        run.settle()
        wrong = run.judge()
        run.table(wrong)
    finally:
        run.platform.close()
        if options.out is None and not wrong:
            shutil.rmtree(out)
        else:
            print(f"kept: {out}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
