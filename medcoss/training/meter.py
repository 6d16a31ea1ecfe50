"""What a run reports of itself: means since the last row, speed, memory, use of the device."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from medcoss.training.compiling import as_written
from medcoss.training.distributed import Ranks

T = TypeVar("T")
_NORM, _FINITE = "norm of the gradients", "steps with a finite norm"
_aten = torch.ops.aten
# torch knows the operations of attention on GPUs only
_FORMULAS: dict[Any, Callable[..., int]] = flop_registry | {
    _aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q.shape, k.shape, v.shape
    ),
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: (
        sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape)
    ),
}


class _Counting(TorchDispatchMode):
    """Adds up the operations of what runs meanwhile, by torch's formulas; torch's own mode tracks modules,
    too, which takes several times as long.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = _FORMULAS.get(func.overloadpacket)
        if formula is not None:
            self.total += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


class FlopCount:
    """Floating-point operations of a piece of work, counted the first time that it is done."""

    def __init__(self, compiled: bool = False) -> None:
        self._compiled = compiled
        self._known: dict[Hashable, int] = {}

    def of(self, kind: Hashable, work: Callable[[], T]) -> tuple[T, int]:
        """The result of `work` and its operations, those of its backward pass included if it runs one."""
        if kind in self._known:
            return work(), self._known[kind]
        # compiled code hides its operations
        with as_written(self._compiled), _Counting() as counting:
            result = work()
        self._known[kind] = counting.total
        return result, counting.total


class Meter:
    """Collects since the last row; what is on a GPU is read only when the row is due."""

    def __init__(self, ranks: Ranks, peak: float | None) -> None:
        self.ranks, self.peak = ranks, peak
        self.begin()

    def begin(self) -> None:
        """Forget what was collected; the next row begins now."""
        self._sums: dict[str, tuple[Tensor | float, int]] = {}
        self._began, self._waited = time.monotonic(), 0.0
        self._steps, self._samples, self._flops = 0, 0, 0
        self._grouped: dict[str, int] = {}

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    def add(self, values: dict[str, Tensor], norm: Tensor, samples: int, flops: int, group: str | None = None) -> None:
        """Take a step: this rank's part of its named numbers, the gradients' norm, the samples of all ranks,
        the operations of this rank. Steps of a `group` are told for themselves, too.
        """
        # float16 leaves out the steps whose gradients overflow
        finite = {_NORM: torch.where(torch.isfinite(norm), norm, 0.0), _FINITE: torch.isfinite(norm)}
        if group is not None:
            finite |= {f"{name}/{group}": value for name, value in finite.items()}
            self._grouped[group] = self._grouped.get(group, 0) + samples
        for name, value in (values | finite).items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = (total + value.detach().float(), count + 1)
        self._steps, self._samples, self._flops = self._steps + 1, self._samples + samples, self._flops + flops

    def row(self) -> dict[str, float]:
        """Means and rates since the last row, `peak_memory_gib` since the start. Waits for the device.

        Memory is that of the fullest GPU; processes on CPUs share one, theirs is added up.
        """
        found = dict(zip(self._sums, torch.stack([total for total, _ in self._sums.values()]).tolist(), strict=True))
        norm = found.pop(_NORM) / max(found.pop(_FINITE), 1.0)
        norms = {g: found.pop(f"{_NORM}/{g}") / max(found.pop(f"{_FINITE}/{g}"), 1.0) for g in self._grouped}
        names = sorted(found)
        means = self.ranks.totals([found[name] / self._sums[name][1] for name in names])
        seconds = max(time.monotonic() - self._began, 1e-9)
        (flops,) = self.ranks.totals([float(self._flops)])
        over_ranks = self.ranks.highest if self.ranks.device.type == "cuda" else self.ranks.totals
        row = dict(zip(names, means, strict=True)) | {
            "grad_norm": norm,
            "steps_per_s": self._steps / seconds,
            "samples_per_s": self._samples / seconds,
            "tflops_per_s": flops / seconds / 1e12,
            "data_wait": self._waited / seconds,
            "peak_memory_gib": over_ranks([_peak_memory(self.ranks.device)])[0] / 2**30,
        }
        row |= {f"grad_norm/{group}": value for group, value in norms.items()}
        row |= {f"samples_per_s/{group}": count / seconds for group, count in self._grouped.items()}
        if self.peak is not None:
            row["mfu"] = row["tflops_per_s"] / (self.peak * self.ranks.world)
        self.begin()
        return row


def _peak_memory(device: torch.device) -> int:
    """Most bytes in use so far: of the GPU by tensors, on a CPU by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # kibibytes on Linux, bytes on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
