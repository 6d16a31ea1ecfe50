"""Several processes that train one model together, as torchrun or a worker of the platform starts them.

Every rank holds the whole model and takes its share of each batch; gradients are summed. What is
agreed from step to step (stop, checkpoint, failure) goes over gloo and never waits for a GPU.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medcoss.run import CheckpointStore, RanksLost, RunContext, RunEvent
from medcoss.training.precision import pick_device

BUCKET_BYTES = 32 * 2**20
# names the file at which ranks of one machine meet; without it they meet at torchrun's MASTER_ADDR and MASTER_PORT
MEETING_FILE = "MEDCOSS_MEETING_FILE"
# the others wait while the main rank scores held-out data or stores a checkpoint; who has started them sees a dead one
PATIENCE = timedelta(hours=2)
T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together; alone by default."""

    device: torch.device
    rank: int = 0
    world: int = 1
    control: Any = None

    @classmethod
    def join(cls) -> "Ranks":
        """Take the place that RANK, WORLD_SIZE and LOCAL_RANK (torchrun) name: nccl on GPUs, gloo on CPUs.

        This method and all others that need the other ranks raise RanksLost when those are gone.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        device = pick_device()
        if world == 1:
            return cls(device)
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        with _reached():
            if not dist.is_initialized():
                how = {"backend": "nccl", "device_id": device} if device.type == "cuda" else {"backend": "gloo"}
                dist.init_process_group(timeout=PATIENCE, **how | _meeting(world))
            on_cpu = dist.get_backend() == "gloo"
            control = dist.group.WORLD if on_cpu else dist.new_group(backend="gloo", timeout=PATIENCE)
        return cls(device, dist.get_rank(), world, control)

    @property
    def main(self) -> bool:
        """True on the rank that reports and writes."""
        return self.rank == 0

    def context(self, context: RunContext) -> RunContext:
        """The context itself on the main rank; on the others one that reports nothing."""
        return context if self.main else Silent(context)

    @contextlib.contextmanager
    def folder(self, wanted: Path) -> Iterator[Path]:
        """`wanted` on the main rank, made if need be; on the others a folder that is dropped afterwards."""
        if self.main:
            wanted.mkdir(parents=True, exist_ok=True)
            yield wanted
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(folder)

    def highest(self, numbers: list[int]) -> list[int]:
        """The maximum over all ranks of each number."""
        return self._reduced(numbers, torch.int64, dist.ReduceOp.MAX)

    def totals(self, numbers: list[float]) -> list[float]:
        """The sum over all ranks of each number."""
        return self._reduced(numbers, torch.float64, dist.ReduceOp.SUM)

    def _reduced(self, numbers: list[Any], dtype: torch.dtype, how: Any) -> list[Any]:
        if self.world == 1 or not numbers:
            return numbers
        values = torch.tensor(numbers, dtype=dtype)
        with _reached():
            dist.all_reduce(values, how, group=self.control)
        return values.tolist()

    def from_main(self, value: T | None) -> T:
        """What the main rank has, on every rank."""
        if self.world > 1:
            holder = [value]
            with _reached():
                dist.broadcast_object_list(holder, src=0, group=self.control)
            value = holder[0]
        return value  # type: ignore[return-value]

    def align(self, modules: nn.Module) -> None:
        """Give every rank the main rank's weights."""
        if self.world > 1:
            for tensor in modules.state_dict().values():
                with _reached():
                    dist.broadcast(tensor, src=0)

    def sum_in_place(self, tensors: Iterable[Tensor]) -> None:
        """Sum tensors of one type over all ranks; they have to be the same ones, in the same order, on each."""
        if self.world == 1:
            return
        pending = []
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            with _reached():
                pending.append((dist.all_reduce(flat, async_op=True), flat, bucket))
        for work, flat, bucket in pending:
            with _reached():
                work.wait()
            for tensor, piece in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(piece.view_as(tensor))


def _meeting(world: int) -> dict[str, Any]:
    """Where the ranks meet. A file, unlike torchrun's store, opens no port to the network, and none can be taken."""
    if MEETING_FILE not in os.environ:
        return {}
    return {"store": dist.FileStore(os.environ[MEETING_FILE], world), "rank": int(os.environ["RANK"]),
            "world_size": world}  # fmt: skip


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    """What torch raises when another rank does not answer, told from this rank's own errors."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        # of gloo's errors there is no class
        raise RanksLost(f"the other processes are gone or do not answer: {error}") from error


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Few large messages travel faster than many small ones."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        bucket.append(tensor)
        size += tensor.numel() * tensor.element_size()
        if size >= BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


class Silent:
    """The context of a rank that reports nothing and writes nothing, but is asked to stop like the others."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    @property
    def checkpoints(self) -> CheckpointStore:
        """The run's checkpoints; only the main rank uses them."""
        return self._context.checkpoints

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Nothing: the main rank reports."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Nothing: the main rank reports."""

    def log(self, message: str, level: str = "info") -> None:
        """Nothing: the main rank reports."""

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Nothing: the main rank reports."""

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Nothing: the main rank writes."""

    def should_stop(self) -> bool:
        """True once this rank was asked to stop."""
        return self._context.should_stop()
