"""One machine of a training on several: `python -m services.worker.machines.node`, in a pod of a TrainJob.

Kubeflow Trainer sets PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT, as torchrun
reads them; MEDCOSS_ATTEMPT names the attempt in the object store. Reports go to standard output. On SIGTERM the
processes of all machines agree on a step and store a checkpoint. Exits as services.worker.child does.
"""

import os
import queue
import signal
import sys
import threading
import time

from services.core.metrics import s3_called
from services.core.parent import end_with_parent
from services.core.settings import Settings, get_settings
from services.core.storage import ObjectStore
from services.worker.machines.lines import LineWriter
from services.worker.machines.names import ATTEMPT
from services.worker.offer import devices
from services.worker.process import Said
from services.worker.protocol import PARTED, REPORTS, STOPPED, ChildJob, ErrorReport, ResultReport, StoreReport
from services.worker.team import Part, Team
from services.worker.workdir import work_folder

LOOK_S = 0.5


def part() -> Part:
    """The place of this machine, by Kubeflow Trainer's variables."""
    environ = os.environ
    return Part(
        int(environ["PET_NODE_RANK"]), int(environ["PET_NNODES"]),
        (environ["PET_MASTER_ADDR"], int(environ["PET_MASTER_PORT"])),
    )  # fmt: skip


class Node:
    """Runs the processes of this machine until they end or `stop` is set, and passes on what they say."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._store, self._place = ObjectStore(settings), os.environ[ATTEMPT]
        self._told: set[int] = set()

    def run(self) -> int:
        """The exit code."""
        mine = part()
        job = ChildJob.model_validate_json(self._store.get_bytes(f"{self._place}/job.json"))
        gpus = devices(self._settings)
        writer = LineWriter(sys.stdout, mine.node * max(len(gpus), 1))
        with work_folder(self._settings.cache_dir / "work", job.job_id) as folder:
            team = Team(job.model_copy(update={"work": str(folder.path)}), self._settings, folder, gpus, mine)
            try:
                self._watch(team, writer)
            finally:
                team.finish()
            self._pass_on(team, writer, 0)
            return self._end(team, writer)

    def _watch(self, team: Team, writer: LineWriter) -> None:
        kill_at: float | None = None
        while not team.ended():
            self._pass_on(team, writer, LOOK_S)
            if self._stop.is_set() and kill_at is None:
                kill_at = time.monotonic() + self._settings.stop_grace_s
                team.stop()
            if kill_at is not None and time.monotonic() > kill_at:
                team.kill()

    def _pass_on(self, team: Team, writer: LineWriter, wait_s: float) -> None:
        try:
            said = team.reports.get(timeout=wait_s) if wait_s else team.reports.get_nowait()
            while True:
                if said is not None:
                    self._note(team, said)
                    writer.send(said)
                said = team.reports.get_nowait()
        except queue.Empty:
            return

    def _note(self, team: Team, said: Said) -> None:
        """A result is kept where it cannot be lost with a log; an error parts the team."""
        if not isinstance(said.entry, bytes):
            return
        try:
            report = REPORTS.validate_json(said.entry)
        except ValueError:
            # the last line of a killed child can be cut off; the supervisor says so
            return
        if isinstance(report, ResultReport):
            self._store.put_bytes(f"{self._place}/result.json", said.entry, "application/json")
        elif isinstance(report, ErrorReport):
            self._told.add(said.rank)
            team.failing(said.rank, said.at)
        elif isinstance(report, StoreReport):
            s3_called(report.operation, report.seconds, report.failed)

    def _end(self, team: Team, writer: LineWriter) -> int:
        code = team.exit_code or 0
        failed = team.failed
        if failed is not None and failed not in self._told and not self._stop.is_set():
            why = ErrorReport(reason="killed", detail=f"a process was ended by signal {-code}" if code < 0
                              else f"a process ended with exit code {code} and no result; see its log")  # fmt: skip
            if team.memory_ran_out:
                why = ErrorReport(reason="out_of_memory", detail="the system ended a process as memory had run out")
            writer.send(Said(failed, why.model_dump_json().encode(), time.monotonic()))
        if code in {0, STOPPED, PARTED}:
            return code
        # killed after its grace was over, it was stopped all the same
        return STOPPED if self._stop.is_set() else 1


def main() -> int:
    """Run this machine's part; the exit code."""
    end_with_parent()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return Node(get_settings(), stop).run()


if __name__ == "__main__":
    sys.exit(main())
