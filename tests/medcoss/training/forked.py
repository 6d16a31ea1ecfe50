"""Processes that begin in no time: the parent imports torch once, computes nothing, and forks.

Not for use within pytest, where torch has run already: threads of the parent do not come along.
"""

import os
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Process:
    """A forked process and the end of the pipe that it writes to."""

    pid: int
    ear: int

    def hear(self, count: int) -> bytes:
        """Wait for so many bytes; fewer when it ends before."""
        heard = b""
        while len(heard) < count:
            told = os.read(self.ear, count - len(heard))
            if not told:
                break
            heard += told
        return heard

    def end(self) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.ear)
        return status


def forked(work: Callable[[int], object]) -> Process:
    """Run `work(pipe)` in a process that has computed nothing yet."""
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid:
        os.close(mouth)
        return Process(pid, ear)
    code = 1
    try:
        torch.set_num_threads(1)
        work(mouth)
        code = 0
    except BaseException:  # noqa: BLE001 - the parent sees the code, people the trace
        traceback.print_exc()
    os._exit(code)


def as_ranks(world: int, work: Callable[[int], object]) -> list[Process]:
    """Run `work(pipe)` in `world` processes with the variables that torchrun sets; alone, without them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def begin(rank: int) -> Process:
        def ranked(mouth: int) -> None:
            if world > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                               "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
            work(mouth)

        return forked(ranked)

    return [begin(rank) for rank in range(world)]
