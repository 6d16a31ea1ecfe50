"""Whether losses and gradients stay finite, without waiting for a GPU in every step."""

from collections import deque
from dataclasses import dataclass

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


class Watch:
    """Collects the numbers of each step; a GPU's arrive some steps later, at most LAG."""

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()
        self._found: NotFinite | None = None

    def add(self, step: int, *numbers: Tensor) -> None:
        """Take the loss of a step and, where it counts, the norm of its gradients."""
        values = torch.stack([number.detach().float() for number in numbers])
        event = None
        if values.is_cuda:
            host = torch.empty(values.shape, pin_memory=True)
            values, event = host.copy_(values, non_blocking=True), torch.cuda.Event()
            event.record()
        self._pending.append((step, values, event))

    def found(self, wait: bool = False) -> NotFinite | None:
        """The first of the numbers that have arrived which is not finite; with `wait`, of all."""
        while self._pending and self._found is None:
            step, values, event = self._pending[0]
            if event is not None and not event.query():
                if not wait and len(self._pending) <= LAG:
                    break
                event.synchronize()
            self._pending.popleft()
            bad = (~torch.isfinite(values)).nonzero()
            if len(bad):
                self._found = NotFinite(step, int(bad[0]))
        return self._found
