"""Whether losses and gradients stay finite, without waiting for a GPU in every step."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NAMES = ("the loss is", "the gradients are")
LAG = 8
# above every step: what is found first has to come out of a maximum
_HORIZON = 2**40


@dataclass(frozen=True)
class NotFinite:
    """The first step, counted from 0, whose number `what` (an index of NAMES) was not finite."""

    step: int
    what: int

    @property
    def code(self) -> int:
        """A positive integer, larger the earlier it was; ranks agree on the largest."""
        return _HORIZON - (self.step * len(NAMES) + self.what)

    @classmethod
    def from_code(cls, code: int) -> "NotFinite":
        """What `code` stands for."""
        return cls(*divmod(_HORIZON - code, len(NAMES)))


class Arrival(Protocol):
    """When a copy from the device is there; CUDA events are of this kind."""

    def query(self) -> bool:
        """True once it is there."""

    def synchronize(self) -> None:
        """Wait for it."""


def to_host(values: Tensor) -> tuple[Tensor, Arrival | None]:
    """A copy in CPU memory and when it is there, None for at once."""
    if not values.is_cuda:
        return values, None
    host, event = torch.empty(values.shape, pin_memory=True), torch.cuda.Event()
    host.copy_(values, non_blocking=True)
    event.record()
    return host, event


class Watch:
    """Collects the numbers of each step; a GPU's arrive some steps later, at most LAG."""

    def __init__(self, copy: Callable[[Tensor], tuple[Tensor, Arrival | None]] = to_host) -> None:
        self._copy = copy
        self._pending: deque[tuple[int, Tensor, Arrival | None]] = deque()
        self._found: NotFinite | None = None

    def add(self, step: int, *numbers: Tensor) -> None:
        """Take the loss of a step and, where it counts, the norm of its gradients."""
        values, arrival = self._copy(torch.stack([number.detach().float() for number in numbers]))
        self._pending.append((step, values, arrival))

    def found(self, wait: bool = False) -> NotFinite | None:
        """The first of the numbers that have arrived which is not finite; with `wait`, of all."""
        while self._pending and self._found is None:
            step, values, arrival = self._pending[0]
            if arrival is not None and not arrival.query():
                if not wait and len(self._pending) <= LAG:
                    break
                arrival.synchronize()
            self._pending.popleft()
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                self._found = NotFinite(step, int(bad[0]))
        return self._found
