"""The one training loop: steps, schedule, checkpoints, metrics, stopping.

Every step's data and random numbers are a pure function of the seed and the step, so a run
that was killed and resumed from a checkpoint ends with the same bits on a CPU as one that was not.
"""

import contextlib
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from medcoss.run import BadInput, RunContext, Stopped


class Task(Protocol):
    """What is trained: the modules with their parameters, and the loss of one batch."""

    modules: nn.Module

    def loss(self, batch: Any, device: torch.device) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise and the named numbers of this step."""


def pick_device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 autocast on a GPU, plain float32 on a CPU."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()


def adamw(modules: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW that decays parameters of two or more dimensions, biases never."""
    named = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if p.ndim >= 2 and not name.endswith(".bias")]
    plain = [p for name, p in named if p.ndim < 2 or name.endswith(".bias")]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8)


def warmup_cosine(progress: float, warmup: float, total: float, peak: float, floor: float) -> float:
    """Learning rate after `progress` epochs: linear to `peak` over `warmup`, then cosine to `floor` at `total`."""
    if progress < warmup:
        return peak * progress / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9))) / 2


class _Window:
    """Means of named numbers since the last row."""

    def __init__(self) -> None:
        self.sums: dict[str, list[float]] = defaultdict(list)
        self.began, self.steps = time.monotonic(), 0

    def add(self, values: dict[str, float]) -> None:
        self.steps += 1
        for name, value in values.items():
            self.sums[name].append(value)

    def row(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self.began, 1e-9)
        return {n: sum(v) / len(v) for n, v in self.sums.items()} | {"steps_per_s": self.steps / seconds}


class Loop:
    """Runs `task` over the batches `steps[0] .. steps[total - 1]`.

    `rate(step)` gives the learning rate; gradients are clipped to `clip_norm` if it is given.
    """

    def __init__(self, task: Task, optimizer: torch.optim.Optimizer, steps: Dataset[Any], total: int,
                 rate: Callable[[int], float], context: RunContext, *, seed: int, checkpoint_every: int,
                 log_every: int, clip_norm: float | None = None) -> None:  # fmt: skip
        self.task, self.optimizer, self.steps, self.total = task, optimizer, steps, total
        self.rate, self.context, self.seed = rate, context, seed
        self.checkpoint_every, self.log_every, self.clip_norm = checkpoint_every, log_every, clip_norm
        self.device = pick_device()
        task.modules.to(self.device)

    def run(self) -> None:
        """Train to the last step, from the newest checkpoint if there is one.

        Raises Stopped, with a checkpoint written, when the context asks to stop.
        """
        first = self._resume()
        self.task.modules.train()
        self.context.progress(first, self.total, "training")
        window = _Window()
        for step, batch in zip(range(first, self.total), self._batches(first), strict=True):
            window.add(self._one(step, batch))
            done = step + 1
            if done % self.log_every == 0 or done == self.total:
                self.context.metrics(done, window.row() | {"lr": self.rate(step)})
                self.context.progress(done, self.total, "training")
                window = _Window()
            stop = self.context.should_stop()
            if stop or (done % self.checkpoint_every == 0 and done < self.total):
                self._save(done)
            if stop:
                raise Stopped
        self.task.modules.eval()

    def _batches(self, first: int) -> Iterator[Any]:
        workers = 4 if self.device.type == "cuda" else 0
        remaining = list(range(first, self.total))
        return iter(DataLoader(self.steps, batch_size=None, sampler=remaining, num_workers=workers))

    def _one(self, step: int, batch: Any) -> dict[str, float]:
        torch.manual_seed((self.seed << 32) + step)
        rate = self.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with precision(self.device):
            loss, values = self.task.loss(batch, self.device)
        if not torch.isfinite(loss):
            raise BadInput(
                f"the loss is not finite at step {step + 1}; lower the learning rate or look for extreme inputs", "lr"
            )
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.task.modules.parameters(), self.clip_norm)
        self.optimizer.step()
        return values

    def _save(self, step: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            save_file(
                {name: t.detach().cpu().contiguous() for name, t in self.task.modules.state_dict().items()},
                Path(folder) / "model.safetensors",
            )
            torch.save(self.optimizer.state_dict(), Path(folder) / "optimizer.pt")
            self.context.checkpoints.save(step, Path(folder))
        self.context.log(f"checkpoint written at step {step}")

    def _resume(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            step = self.context.checkpoints.latest(Path(folder))
            if step is None:
                return 0
            self.task.modules.load_state_dict(load_file(Path(folder) / "model.safetensors"))
            state = torch.load(Path(folder) / "optimizer.pt", map_location="cpu", weights_only=True)
            self.optimizer.load_state_dict(state)
        self.context.log(f"resumed from the checkpoint at step {step}")
        return step
