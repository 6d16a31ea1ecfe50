"""The loop's parts: rates, decay, stopping, refusal of what is not finite."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.training.distributed import Ranks
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.optim import adamw, polynomial, warmup_cosine


def test_the_schedule_is_the_published_one(parity: Path) -> None:
    golden = np.load(parity / "lr_schedule.npz")
    warmup, total, peak, floor = (float(golden[n]) for n in ("warmup_epochs", "epochs", "base_lr", "min_lr"))
    found = [warmup_cosine(float(e), warmup, total, peak, floor) for e in golden["epoch"]]
    assert np.allclose(found, golden["lr"], rtol=1e-12, atol=1e-18)


def test_schedule_without_warmup_starts_at_the_peak() -> None:
    assert warmup_cosine(0, 0, 10, 0.5, 0.1) == 0.5
    assert warmup_cosine(10, 0, 10, 0.5, 0.1) == pytest.approx(0.1)
    assert warmup_cosine(5, 0, 10, 0.5, 0.1) == pytest.approx(0.3)


def test_matrices_decay_and_biases_do_not() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(3, 3), nn.LayerNorm(3)
            self.token = nn.Parameter(torch.zeros(1, 1, 3))
            self.frozen = nn.Linear(3, 3).requires_grad_(False)

    module = Module()
    plain, decayed = adamw(module, 0.1, 0.05, (0.9, 0.95)).param_groups
    assert (plain["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    assert {id(p) for p in decayed["params"]} == {id(module.linear.weight), id(module.token)}
    assert {id(p) for p in plain["params"]} == {
        id(module.linear.bias), id(module.norm.weight), id(module.norm.bias)
    }  # fmt: skip


CPU = torch.device("cpu")


class Steps(Dataset[int]):
    """Step numbers as batches."""

    def __getitem__(self, index: int) -> int:
        return index


class Line:
    """Fits one number; can be told to answer with NaN."""

    frozen = None

    def __init__(self, nan_at: int = -1) -> None:
        self.modules: nn.Module = nn.Linear(1, 1, bias=False)
        self.nan_at, self.seen = nan_at, []

    def loss(self, batch: int, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.seen.append(batch)
        value = (self.modules(torch.ones(1, 1)) - 3).square().mean()
        return value * float("nan") if batch == self.nan_at else value, {"loss": value.detach()}

    def terms(self, batch: int) -> int:
        return 1


def loop(task: Line, run: LocalRun, total: int, **more: Any) -> Loop:
    optimizer = adamw(task.modules, 0.1, 0.0, (0.9, 0.95))
    settings = LoopSettings(**({"seed": 0, "checkpoint_every": 4, "log_every": 5} | more))
    return Loop(task, optimizer, Steps(), total, lambda step: 0.1 / (step + 1), run, settings, Ranks(CPU))


def test_every_step_is_seen_once_in_order_and_reported(tmp_path: Path) -> None:
    task, run = Line(), LocalRun(tmp_path)
    loop(task, run, 12).run()
    assert task.seen == list(range(12))
    assert [step for step, _ in run.history] == [5, 10, 12]
    first = dict(run.history)[5]
    assert first["lr"] == pytest.approx(0.1 / 5)
    assert first["steps_per_s"] > 0
    assert run.done == (12, 12)
    assert not task.modules.training
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["000000004", "000000008"]


def test_metrics_are_means_since_the_last_row(tmp_path: Path) -> None:
    task, run = Line(), LocalRun(tmp_path)
    with torch.no_grad():
        task.modules.weight.fill_(3.0)
    loop(task, run, 5).run()
    assert dict(run.history)[5]["loss"] == pytest.approx(0, abs=1e-6)


def test_a_loss_that_is_not_finite_ends_the_run_before_the_step(tmp_path: Path) -> None:
    task = Line(nan_at=3)
    with pytest.raises(BadInput, match="not finite at step 4; lower the learning rate"):
        loop(task, LocalRun(tmp_path), 10).run()
    assert torch.isfinite(task.modules.weight).all()


def test_stopping_at_the_last_step_still_resumes(tmp_path: Path) -> None:
    run = LocalRun(tmp_path, stop_requested=True)
    with pytest.raises(Stopped):
        loop(Line(), run, 1).run()
    task, again = Line(), LocalRun(tmp_path)
    loop(task, again, 1).run()
    assert task.seen == []
    assert "info: resumed from the checkpoint at step 1" in again.lines


def test_gradients_are_clipped_only_when_asked(tmp_path: Path) -> None:
    for clip, expected in ((None, True), (1e-3, False)):
        task = Line()
        with torch.no_grad():
            task.modules.weight.fill_(100.0)
        made = loop(task, LocalRun(tmp_path / str(clip)), 1, clip_norm=clip)
        made.run()
        assert (task.modules.weight.grad.abs().item() > 1) == expected


def test_fine_tuning_falls_as_a_polynomial() -> None:
    assert [polynomial(step, 10, 0.2) for step in (0, 5)] == pytest.approx([0.2, 0.2 * 0.5**0.9])
    assert 0 < polynomial(9, 10, 0.2) < polynomial(8, 10, 0.2)
