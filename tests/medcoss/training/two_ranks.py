"""What two ranks do together: `python -m tests.medcoss.training.two_ranks` prints it as JSON, scenario by scenario.

A line is fitted to a batch of three samples, which two ranks share unevenly; one parameter never has a gradient.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.training.distributed import Ranks
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.optim import adamw
from tests.medcoss.training.forked import as_ranks

TOTAL = 6


class Points(Dataset[Any]):
    """Three points a step, the step's number the only thing that changes; can hold a NaN."""

    def __init__(self, nan_at: tuple[int, int] | None = None) -> None:
        self.nan_at = nan_at

    def __getitem__(self, step: int) -> Any:
        x = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], np.float32) + np.float32(step)
        if self.nan_at and self.nan_at[0] == step:
            x[self.nan_at[1]] = np.nan
        return x, np.array([1.0, 0.0, -1.0], np.float32)


class Fit:
    """Mean squared error of a line; `unused` is a matrix without a gradient."""

    frozen = None

    def __init__(self) -> None:
        torch.manual_seed(1)
        self.modules: nn.Module = nn.ModuleDict({"line": nn.Linear(2, 1), "unused": nn.Linear(2, 2)})

    def loss(self, batch: Any, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = (torch.as_tensor(part) for part in batch)
        value = (self.modules["line"](x)[:, 0] - y).square().mean()
        return value, {"loss/line": value.detach()}

    def terms(self, batch: Any) -> int:
        return len(batch[0])


class Asked(LocalRun):
    """A run that is asked to stop from a step on."""

    stop_at: int = 10**9

    def should_stop(self) -> bool:
        self.stop_at -= 1
        return self.stop_at <= 0


def fit(
    folder: Path, *, stop_at: int = 10**9, nan_at: tuple[int, int] | None = None, **settings: Any
) -> dict[str, Any]:
    """Train on this rank; what came of it."""
    ranks, task, run = Ranks.join(), Fit(), Asked(folder)
    run.stop_at = stop_at
    untouched = task.modules["unused"].weight.clone()
    made = LoopSettings(**({"seed": 0, "log_every": 2, "checkpoint_every": 2} | settings))
    loop = Loop(task, adamw(task.modules, 0.05, 0.1, (0.9, 0.95)), Points(nan_at), TOTAL, lambda _: 0.05, run, made,
                ranks, describe=lambda step: f"points {step}")  # fmt: skip
    end = "ended"
    try:
        loop.run()
    except (Stopped, BadInput) as error:
        end = f"{type(error).__name__} {error}".strip()
    return {
        "end": end,
        "weights": [p.tolist() for p in task.modules["line"].parameters()],
        "untouched": torch.equal(untouched, task.modules["unused"].weight),
        "rows": [[step, row.get("loss/line"), row.get("grad_norm")] for step, row in run.history],
        "lines": run.lines,
        "done": run.done,
        "files": sorted(p.name for p in (folder / "artifacts").rglob("*") if p.is_file()),
        "checkpoints": sorted(int(p.parent.name) for p in (folder / "checkpoints").glob("*/manifest.json")),
    }


def answers(world: int, work: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """What `work(rank)` gives on each rank."""

    def told(mouth: int) -> None:
        with os.fdopen(mouth, "w") as pipe:
            json.dump(work(int(os.environ.get("RANK", "0"))), pipe)

    processes = as_ranks(world, told)
    heard = [json.loads(process.hear(10**6)) for process in processes]
    for process in processes:
        process.end()
    return heard


def main() -> None:
    """Print every scenario's answers."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        found = {
            "alone": answers(1, lambda _: fit(folder / "alone")),
            "together": answers(2, lambda _: fit(folder / "together")),
            "stopped": answers(2, lambda rank: fit(folder / "stopped", stop_at=3 if rank == 1 else 10**9)),
            "resumed": answers(2, lambda _: fit(folder / "stopped")),
            "not finite": answers(2, lambda _: fit(folder / "bad", nan_at=(3, 1))),
            "by time": answers(2, lambda _: fit(folder / "time", checkpoint_every=None, checkpoint_minutes=1e-9)),
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
