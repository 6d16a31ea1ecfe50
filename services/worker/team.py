"""The processes of one attempt on this machine: one, or as many as train together, one a GPU, which begin and end
together; those of other machines may belong to it (services.worker.machines).

torchrun is not used: its launcher gives every rank a session of its own, so that killing the launcher leaves them
behind, and kills them 30 s after a SIGTERM, whether their checkpoint is written or not.
"""

import os
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from medcoss.specs import EVERY_KIND
from services.core.settings import Settings
from services.worker.offer import hides_gpus
from services.worker.process import Child, Reports
from services.worker.protocol import PARTED, STOPPED, ChildJob
from services.worker.workdir import WorkFolder

# time to end by itself for a process that has lost another one
PARTING_S = 5.0


@dataclass(frozen=True)
class Part:
    """The machine's place among `nodes` that train together, and where all processes meet: on the first of them."""

    node: int = 0
    nodes: int = 1
    meeting: tuple[str, int] = ("", 0)


ALONE = Part()


class Processes(Protocol):
    """The processes of an attempt, wherever they run, as those who supervise it see them."""

    reports: Reports
    # which machine was lost, and why; empty while none is
    lost: str

    @property
    def failed(self) -> int | None:
        """The rank of the process that failed first."""

    @property
    def exit_code(self) -> int | None:
        """How the attempt ended."""

    @property
    def memory_ran_out(self) -> bool:
        """Whether the system has ended a process for want of memory."""

    def ended(self) -> bool:
        """True once all are over and all they have said is in `reports`."""

    def failing(self, rank: int, moment: float) -> None:
        """A process has told of an error, and is about to end."""

    def name_of(self, rank: int) -> str:
        """A process for people."""

    def marked(self, rank: int, line: str) -> str:
        """A line of the log, with its process unless that is the main one."""

    def stop(self) -> None:
        """Have them store one checkpoint and end."""

    def kill(self) -> None:
        """End them at once."""

    def finish(self) -> None:
        """End whatever still runs, and take what was said last."""


class Team:
    """Speaks for all processes of this machine. `gpus` names those of the attempt: the first is for the first process,
    of the first machine the main one. Ranks in reports are places on this machine.
    """

    # of the machines of a team that is on one, none can be lost
    lost = ""

    def __init__(self, job: ChildJob, settings: Settings, folder: WorkFolder, gpus: Sequence[str],
                 part: Part = ALONE) -> None:  # fmt: skip
        self.reports: Reports = queue.Queue()
        # what others have trained is added up by one process
        together = EVERY_KIND[job.kind].ranks and not job.shares
        self._gpus, self._size, self._part = gpus, max(len(gpus), 1) if together else 1, part
        self._cut_off: set[int] = set()
        self._members: list[Child] = []
        try:
            for rank in range(self._size):
                place = self._place(rank, settings, folder)
                # one that meets others, or a GPU, takes part in nothing that another process has begun
                anew = bool(gpus) or self._size * part.nodes > 1
                self._members.append(Child(job, settings, folder, self.reports, rank, place, anew=anew))
        except BaseException:
            self.finish()
            raise

    def _place(self, rank: int, settings: Settings, folder: WorkFolder) -> dict[str, str]:
        """The variables that tell a process which GPUs it may see and who it is."""
        place: dict[str, str] = {}
        if hides_gpus(settings):
            # numbered as NVIDIA's tools do it, which the worker's own figures come from
            place = {"CUDA_VISIBLE_DEVICES": ",".join(self._gpus),
                     "CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}  # fmt: skip
        if self._size == self._part.nodes == 1:
            return place
        threads = max(len(os.sched_getaffinity(0)) // self._size, 1)
        place |= {
            "RANK": str(self._part.node * self._size + rank), "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(self._part.nodes * self._size),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        }  # fmt: skip
        if self._part.nodes > 1:
            address, port = self._part.meeting
            return place | {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
        # they are all on this machine: nobody else can reach them
        alone = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
        return place | alone | {"MEDCOSS_MEETING_FILE": str(folder.path / "meeting")}

    def ended(self) -> bool:
        """True once all processes are over and all they have said is in `reports`.

        When one has failed, or the main one is done, the others can do nothing more: they are killed PARTING_S later.
        """
        left = [member for member in self._members if member.ended_at is None]
        if not left:
            self.finish()
            return True
        since = min((moment for member in self._members if (moment := self._over(member)) is not None), default=None)
        if since is not None and time.monotonic() - since > PARTING_S:
            self._cut_off |= {member.rank for member in left}
            for member in left:
                member.kill()
        return False

    def failing(self, rank: int, moment: float) -> None:
        """A process has told of an error, and is about to end."""
        member = self._members[rank]
        member.failed_at = member.failed_at or moment

    @property
    def failed(self) -> int | None:
        """The rank of the process that failed first; not of one that was only drawn in, as it had lost the others."""
        return None if self._first is None else self._first.rank

    def _failed_at(self, member: Child) -> float | None:
        if member.failed_at is not None or member.rank in self._cut_off:
            return member.failed_at
        return None if member.exit_code in {None, 0, STOPPED, PARTED} else member.ended_at

    @property
    def _first(self) -> Child | None:
        """The process that failed first; not one that was only drawn in, as it had lost the others."""
        found = [(moment, member.rank) for member in self._members if (moment := self._failed_at(member)) is not None]
        return self._members[min(found)[1]] if found else None

    @property
    def exit_code(self) -> int | None:
        """That of the process which failed first, else of one that was stopped or drawn in, else of the main one."""
        if self._first is not None:
            return self._first.exit_code
        codes = [member.exit_code for member in self._members]
        return next((code for code in (STOPPED, PARTED) if code in codes), codes[0])

    @property
    def memory_ran_out(self) -> bool:
        """True when one ended badly and the system has ended a process for want of memory meanwhile."""
        return (self._first or self._members[0]).memory_ran_out

    def name_of(self, rank: int) -> str:
        """A process for people, empty for one that is alone."""
        if self._size == 1:
            return ""
        on = f" on GPU {self._gpus[rank]}" if self._gpus else ""
        return f"process {rank + 1} of {self._size}{on}"

    def marked(self, rank: int, line: str) -> str:
        """A line of the log, with its process unless that is the main one."""
        return f"process {rank + 1}: {line}" if rank else line

    def stop(self) -> None:
        """SIGTERM for all: agree on a step, write one checkpoint and end."""
        for member in self._members:
            member.stop()

    def kill(self) -> None:
        """SIGKILL for all and whatever they have started."""
        for member in self._members:
            member.kill()

    def finish(self) -> None:
        """End whatever still runs, and take what was said last."""
        self.kill()
        for member in self._members:
            member.finish()

    def _over(self, member: Child) -> float | None:
        """Since when a process keeps the others from going on: it has failed, or it is the main one and all is
        stored.
        """
        helper = member.rank > 0 or self._part.node > 0
        done = helper and member.exit_code in {0, STOPPED}
        return member.failed_at or (None if done else member.ended_at)
