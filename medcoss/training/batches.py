"""Cutting batches into the parts that ranks and micro-batches take, and moving them to the device."""

from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcoss.run import refuse
from medcoss.specs import fit

NAMED = 16
T = TypeVar("T")


@runtime_checkable
class Sharing(Protocol):
    """A dataset of batches that can make a share of the rows alone; others make whole batches, which are cut."""

    share: slice


def mapped(batch: T, change: Callable[[Any], Any], kinds: tuple[type, ...] = (np.ndarray, Tensor)) -> T:
    """A batch with every array in it changed (whatever is of `kinds`), the rest as it is.

    A batch is an array or tensor, or a tuple, list or dataclass of such.
    """
    if isinstance(batch, kinds):
        return change(batch)  # type: ignore[no-any-return]
    if isinstance(batch, tuple | list):
        return type(batch)(mapped(value, change, kinds) for value in batch)  # type: ignore[return-value]
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(batch, **{f.name: mapped(getattr(batch, f.name), change, kinds) for f in fields(batch)})
    return batch


def cut(batch: T, rows: slice) -> T:
    """The samples `rows` of a batch: of every array along its first axis."""
    return mapped(batch, lambda array: array[rows])


def as_tensors(batch: T) -> T:
    """A batch with tensors for arrays: from a loader's process they come by shared memory, arrays through a pipe."""
    return mapped(batch, torch.as_tensor)


def arrays(batch: Any) -> list[Any]:
    """The arrays and tensors of a batch, in order."""
    if isinstance(batch, np.ndarray | Tensor):
        return [batch]
    if isinstance(batch, tuple | list):
        return [array for value in batch for array in arrays(value)]
    if is_dataclass(batch):
        return [array for f in fields(batch) for array in arrays(getattr(batch, f.name))]
    return []


def samples(batch: Any) -> int:
    """Number of samples of a batch; 1 for what holds no arrays."""
    found = arrays(batch)
    return len(found[0]) if found else 1


def signature(batch: Any) -> Hashable:
    """What batches of the same work have in common: the shapes, and the source where there are several."""
    return (getattr(batch, "source", None), *(tuple(array.shape) for array in arrays(batch)))


def check_parts(batch_size: int, available: dict[str, int], accumulate: int, world: int) -> None:
    """Raises BadInput when a batch cannot be shared by all ranks and micro-batches.

    `available` names the number of samples of each source: one with fewer than a batch is used whole.
    """
    refuse(fit.shares(batch_size, available, accumulate, world))


def named(modality: str, indices: NDArray[np.int64]) -> str:
    """A batch for people: its modality and the places of its samples in the dataset."""
    shown = ", ".join(str(i) for i in indices[:NAMED])
    more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
    return f"a batch of '{modality}', samples {shown}{more}"


def moved(value: Any, device: torch.device) -> Tensor:
    """An array or tensor on the device; to a GPU through pinned memory, so that nothing waits for it."""
    tensor = torch.as_tensor(value)
    if device.type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)
