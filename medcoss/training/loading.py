"""Batches that other processes make, in memory that they share with the one that trains and fill again and again.

DataLoader alone makes a new shared file for every batch: the worker copies the batch into pages that the system has
just zeroed, and the trainer maps them and gives them back, which costs more than reading the samples.
"""

import itertools
import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from medcoss.training.batches import as_tensors, mapped
from medcoss.training.memory import keep_freed_memory

# batches that a worker makes before they are asked for
AHEAD = 2
# of address space; what is not written takes no memory, and a batch that does not fit comes as DataLoader brings it
_ROOM = 2**30
_ALIGNED = 64


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a slot."""

    at: int
    shape: tuple[int, ...]
    dtype: torch.dtype


class _Slot:
    """Shared memory for the arrays of one batch."""

    def __init__(self, number: int, room: int) -> None:
        self.number = number
        self.memory = torch.frombuffer(mmap.mmap(-1, room), dtype=torch.uint8)
        self.used = 0

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> _Place | None:
        """Room for a tensor; None when there is not enough left."""
        place = _Place(self.used, tuple(shape), dtype)
        end = place.at + math.prod(shape) * dtype.itemsize
        if end > len(self.memory):
            return None
        self.used = -(-end // _ALIGNED) * _ALIGNED
        return place

    def tensor(self, place: _Place) -> Tensor:
        """The tensor at a place, in the slot's memory."""
        size = math.prod(place.shape) * place.dtype.itemsize
        return self.memory[place.at : place.at + size].view(place.dtype).view(place.shape)

    def put(self, array: NDArray[Any] | Tensor) -> "_Place | Tensor":
        """The place of an array, which is copied unless it lies in the slot; a tensor where there is no room."""
        tensor = torch.as_tensor(array)
        at = tensor.data_ptr() - self.memory.data_ptr()
        if 0 <= at < len(self.memory) and tensor.is_contiguous():
            return _Place(at, tuple(tensor.shape), tensor.dtype)
        place = self.take(tensor.shape, tensor.dtype)
        if place is None:
            return tensor
        self.tensor(place).copy_(tensor)
        return place


@dataclass(frozen=True)
class _Parcel:
    """A batch with places for its arrays: all that a worker sends."""

    slots: "_Slots"
    number: int
    batch: Any

    def opened(self) -> Any:
        """The batch, its tensors in the shared memory."""
        slot = self.slots.all[self.number]
        return mapped(self.batch, lambda found: slot.tensor(found) if isinstance(found, _Place) else found,
                      (_Place, Tensor))  # fmt: skip

    def pin_memory(self) -> Any:
        """The batch, copied to where a GPU can fetch it by itself; DataLoader asks for it."""
        return mapped(self.opened(), lambda tensor: tensor.pin_memory())


class _Slots:
    """The slots of all workers, of each as many as DataLoader lets it be ahead, and the one that is in use."""

    def __init__(self, workers: int, room: int) -> None:
        self.all = [_Slot(number, room) for number in range(workers * (AHEAD + 1))]
        self.key, self._turn = next(_keys), 0
        _known[self.key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # whoever is sent a parcel has the slots already
        return _of, (self.key,)

    def begin(self, worker: int) -> None:
        """Called in each worker before its first batch."""
        global _filling
        keep_freed_memory()
        _filling = self._next(worker)

    def _next(self, worker: int) -> _Slot:
        slot = self.all[worker * (AHEAD + 1) + self._turn % (AHEAD + 1)]
        slot.used = 0
        return slot

    def packed(self, batch: Any) -> _Parcel:
        """What a worker sends of a batch; the next one is made in another slot."""
        global _filling
        info = get_worker_info()
        assert info is not None and _filling is not None
        parcel = _Parcel(self, _filling.number, mapped(batch, _filling.put))
        self._turn += 1
        _filling = self._next(info.id)
        return parcel


def _of(key: int) -> _Slots:
    return _known[key]


_keys = itertools.count()
_known: WeakValueDictionary[int, _Slots] = WeakValueDictionary()
# in a worker, the slot of the batch that it makes
_filling: _Slot | None = None


def stacked(samples: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Samples of one shape as one array (N, ...): in a worker, where the trainer is going to find it."""
    if _filling is not None:
        dtype = torch.from_numpy(np.empty(0, samples[0].dtype)).dtype
        if (place := _filling.take((len(samples), *samples[0].shape), dtype)) is not None:
            return np.stack(samples, out=_filling.tensor(place).numpy())
    return np.stack(samples)


def loaded(steps: Dataset[Any], numbers: Sequence[int], workers: int, *, pinned: bool = False) -> Iterator[Any]:
    """The batches of `steps` at `numbers` as tensors, in order, made by so many other processes; 0: by this one.

    A batch from a worker stays as it is until the next one is asked for, and for good when it is `pinned`. The
    processes start at once.
    """
    options: dict[str, Any] = {"collate_fn": as_tensors}
    if workers and (slots := _shared(workers)) is not None:
        # the slots are inherited, which spawned processes cannot
        options = {"collate_fn": slots.packed, "worker_init_fn": slots.begin, "multiprocessing_context": "fork"}
    if workers:
        options["prefetch_factor"] = AHEAD
    loader = DataLoader(
        steps, batch_size=None, sampler=numbers, num_workers=workers, pin_memory=pinned,  # type: ignore[arg-type]
        **options,
    )  # fmt: skip
    return map(_opened, loader)


def _shared(workers: int) -> _Slots | None:
    """Slots; None where the system gives no address space to what may never be written."""
    try:
        return _Slots(workers, _ROOM)
    except OSError:
        return None


def _opened(batch: Any) -> Any:
    return batch.opened() if isinstance(batch, _Parcel) else batch
