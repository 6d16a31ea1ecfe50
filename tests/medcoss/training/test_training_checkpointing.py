"""Checkpoints in the background, and numbers that are not finite: what is stored, and when the run ends."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.training.checkpointing import Checkpoints, TrainingState
from medcoss.training.distributed import Ranks
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.optim import adamw
from medcoss.training.watch import LAG, NotFinite, Watch

CPU = torch.device("cpu")
PATIENCE_S = 30


class Steps(Dataset[int]):
    """Step numbers as batches."""

    def __getitem__(self, index: int) -> int:
        return index


class Slope:
    """One number; tells of each step, and can meet an infinite gradient or loss."""

    frozen = None

    def __init__(self, *, bad_loss_at: int = -1, bad_gradient_at: int = -1) -> None:
        self.modules: nn.Module = nn.Linear(1, 1, bias=False)
        self.bad_loss_at, self.bad_gradient_at = bad_loss_at, bad_gradient_at
        self.reached = {step: threading.Event() for step in range(64)}

    def loss(self, batch: int, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.reached[batch].set()
        value = (self.modules.weight - 3).square().sum()
        if batch == self.bad_loss_at:
            value = value / 0
        if batch == self.bad_gradient_at:
            # the root of nothing: 0, with an infinite slope
            value = value + (self.modules.weight * 0).abs().sum().sqrt()
        return value, {"loss": value.detach()}

    def terms(self, batch: int) -> int:
        return 1


@dataclass
class Store:
    """A store in memory that can wait, and can fail."""

    waits: dict[int, threading.Event] = field(default_factory=dict)
    fails: tuple[int, ...] = ()
    times: int = 3
    saved: list[int] = field(default_factory=list)
    tried: list[int] = field(default_factory=list)
    busy: threading.Lock = field(default_factory=threading.Lock)
    threads: set[str] = field(default_factory=set)

    def save(self, step: int, directory: Path) -> None:
        assert not self.busy.locked(), "one at a time"
        with self.busy:
            self._save(step, directory)

    def _save(self, step: int, directory: Path) -> None:
        self.threads.add(threading.current_thread().name)
        if step in self.waits:
            assert self.waits[step].wait(PATIENCE_S), "the training did not go on meanwhile"
        self.tried.append(step)
        if step in self.fails and self.tried.count(step) <= self.times:
            raise OSError(28, "No space left on device")
        assert {p.name for p in directory.iterdir()} == {"model.safetensors", "optimizer.pt"}
        self.saved.append(step)

    def latest(self, directory: Path) -> int | None:
        return None


class Stored(LocalRun):
    """A run with a store of its own."""

    store: Store

    @property
    def checkpoints(self) -> Store:  # type: ignore[override]
        return self.store


def loop(task: Slope, folder: Path, store: Store, total: int, **more: Any) -> tuple[Loop, Stored]:
    run = Stored(folder)
    run.store = store
    settings = LoopSettings(**({"seed": 0, "log_every": 100, "checkpoint_every": 2} | more))
    made = Loop(task, adamw(task.modules, 0.1, 0.0, (0.9, 0.95)), Steps(), total, lambda _: 0.1, run, settings,
                Ranks(CPU), describe=lambda step: f"a batch of 'xray', samples {step}")  # fmt: skip
    return made, run


def test_a_slow_store_does_not_hold_the_training_up(tmp_path: Path) -> None:
    task, store = Slope(), Store()
    # the first is stored only once the step before the next checkpoint has run
    store.waits[2] = task.reached[3]
    loop(task, tmp_path, store, 7)[0].run()
    assert store.saved == [2, 4, 6]
    assert all(name.startswith("checkpoint") for name in store.threads)


def test_what_is_stored_does_not_change_meanwhile(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)
    optimizer = adamw(module, 0.1, 0.0, (0.9, 0.95))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = TrainingState.of(1, 1, module, optimizer, scaler)
    before, moment = module.weight.detach().clone(), optimizer.state[module.weight]["exp_avg"].clone()
    optimizer.step()
    assert not torch.equal(module.weight, before)
    state.write(tmp_path)
    again = TrainingState.read(1, tmp_path)
    again.restore(module, optimizer, scaler)
    assert torch.equal(module.weight, before)
    assert torch.equal(optimizer.state[module.weight]["exp_avg"], moment)


def test_a_checkpoint_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    store = Store(fails=(2, 4))
    made, run = loop(Slope(), tmp_path, store, 9)
    made.run()
    assert store.saved == [6, 8]
    assert "error: the checkpoint of step 4 could not be written (OSError)" in run.lines


def test_the_third_failure_in_a_row_ends_the_run(tmp_path: Path) -> None:
    task, store = Slope(), Store(fails=(2, 6, 8, 10))
    made, run = loop(task, tmp_path, store, 20)
    with pytest.raises(OSError, match="No space left") as failed:
        made.run()
    assert store.saved == [4]
    assert "error: the checkpoint of step 6 could not be written (OSError)" in run.lines
    assert failed.value.__notes__ == ["while the checkpoint of step 10 was written"]
    assert sum(event.is_set() for event in task.reached.values()) <= 12


def test_the_checkpoint_of_a_stop_is_waited_for(tmp_path: Path) -> None:
    store = Store()
    made, run = loop(Slope(), tmp_path, store, 7, checkpoint_every=None)
    run.stop_requested = True
    with pytest.raises(Stopped):
        made.run()
    assert store.saved == [1]
    assert "info: checkpoint written at step 1" in run.lines


def test_the_checkpoint_of_a_stop_is_tried_again(tmp_path: Path) -> None:
    store = Store(fails=(1,), times=2)
    made, run = loop(Slope(), tmp_path, store, 7)
    run.stop_requested = True
    with pytest.raises(Stopped):
        made.run()
    assert store.saved == [1]


def test_the_error_of_a_stop_s_checkpoint_is_not_swallowed(tmp_path: Path) -> None:
    made, run = loop(Slope(), tmp_path, Store(fails=(1,)), 7)
    run.stop_requested = True
    with pytest.raises(OSError, match="No space left"):
        made.run()


def test_checkpoints_come_by_time_and_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    monkeypatch.setattr("medcoss.training.checkpointing.time.monotonic", lambda: moment)
    found = Checkpoints(Store(), lambda line, level: None, minutes=10, every=7)
    assert not found.due(6)
    assert found.due(7)
    moment = 599.0
    assert not found.due(8)
    moment = 600.0
    assert found.due(8)
    with found:
        assert not found.due(8), "counted from the first step"


def test_a_new_checkpoint_is_due_soon_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    monkeypatch.setattr("medcoss.training.checkpointing.time.monotonic", lambda: moment)
    module = nn.Linear(1, 1)
    state = TrainingState.of(1, 1, module, adamw(module, 0.1, 0.0, (0.9, 0.95)), torch.amp.GradScaler("cpu"))
    failed = threading.Event()
    with Checkpoints(Store(fails=(1,)), lambda line, level: failed.set(), minutes=10) as found:
        found.save(state)
        while not failed.is_set():
            assert not found.due(2)
        moment = 59.0
        assert not found.due(2)
        moment = 60.0
        assert found.due(3)


# what is not finite


def test_a_loss_that_is_not_finite_names_step_and_batch(tmp_path: Path) -> None:
    task, store = Slope(bad_loss_at=4), Store()
    with pytest.raises(BadInput) as failed:
        loop(task, tmp_path, store, 9)[0].run()
    assert str(failed.value) == (
        "lr: the loss is not finite at step 5 (a batch of 'xray', samples 4); lower the learning rate or look for "
        "extreme inputs"
    )
    assert store.saved == [2, 4]
    assert torch.isfinite(task.modules.weight).all()


def test_gradients_that_are_not_finite_end_the_run_before_the_step(tmp_path: Path) -> None:
    task, store = Slope(bad_gradient_at=3), Store()
    with pytest.raises(BadInput, match="the gradients are not finite at step 4"):
        loop(task, tmp_path, store, 9)[0].run()
    assert store.saved == [2], "the state after step 4 is never stored"
    assert torch.isfinite(task.modules.weight).all()


class Late:
    """A copy from a device that is there when it is asked to be, as a GPU's."""

    def __init__(self) -> None:
        self.there = False

    def query(self) -> bool:
        return self.there

    def synchronize(self) -> None:
        self.there = True


def late_watch() -> tuple[Watch, list[Late]]:
    arrivals: list[Late] = []

    def copy(values: torch.Tensor) -> tuple[torch.Tensor, Late]:
        arrivals.append(Late())
        return values, arrivals[-1]

    return Watch(copy), arrivals


def test_numbers_of_a_gpu_are_looked_at_when_they_arrive() -> None:
    watch, arrivals = late_watch()
    watch.add(0, torch.tensor(1.0), torch.tensor(1.0))
    watch.add(1, torch.tensor(1.0), torch.tensor(float("inf")))
    assert watch.found() is None
    assert not any(a.there for a in arrivals), "nobody waits for a device"
    arrivals[0].there = arrivals[1].there = True
    assert watch.found() == NotFinite(1, 1)
    watch.add(2, torch.tensor(float("nan")))
    assert watch.found(wait=True) == NotFinite(1, 1), "the first one counts"


def test_numbers_of_a_gpu_are_waited_for_before_a_checkpoint_or_after_some_steps() -> None:
    watch, arrivals = late_watch()
    watch.add(0, torch.tensor(float("nan")))
    assert watch.found(wait=True) == NotFinite(0, 0)
    watch, arrivals = late_watch()
    for step in range(LAG + 1):
        assert watch.found() is None
        watch.add(step, torch.tensor(1.0 if step else float("nan")))
    assert watch.found() == NotFinite(0, 0)
    assert [a.there for a in arrivals] == [True] + [False] * LAG


def test_late_numbers_keep_a_poisoned_state_from_being_stored(tmp_path: Path) -> None:
    task, store = Slope(bad_loss_at=3), Store()
    made, _ = loop(task, tmp_path, store, 9)
    made.watch, _ = late_watch()
    with pytest.raises(BadInput, match="the loss is not finite at step 4"):
        made.run()
    assert store.saved == [2]


def test_ranks_agree_on_the_earliest() -> None:
    met = [NotFinite(7, 0), NotFinite(3, 1), NotFinite(3, 0)]
    assert NotFinite.from_code(max(bad.code for bad in met)) == NotFinite(3, 0)
    assert [NotFinite.from_code(bad.code) for bad in met] == met
    assert min(bad.code for bad in met) > 0


def test_the_checkpoint_of_other_work_is_none_of_a_training(tmp_path: Path) -> None:
    run, features = LocalRun(tmp_path / "run"), tmp_path / "features"
    features.mkdir()
    (features / "features.f32").write_bytes(b"1234")
    run.checkpoints.save(7, features)
    assert Checkpoints(run.checkpoints, run.log, minutes=10).latest() is None
