"""The one training loop: steps, micro-batches, ranks, precision, checkpoints, metrics, stopping.

Every step's data and random numbers are a pure function of the seed, the step and the rank, so a run
that was killed and resumed from a checkpoint ends with the same bits on a CPU as one that was not.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.devices import peak_tflops
from medcoss.specs.training import LoopOptions
from medcoss.training.batches import Sharing, cut, samples, signature
from medcoss.training.checkpointing import Checkpoints, TrainingState
from medcoss.training.compiling import as_written, compiled_blocks
from medcoss.training.distributed import Ranks
from medcoss.training.events import Events
from medcoss.training.loading import loaded
from medcoss.training.memory import keep_freed_memory, large_tensors_kept
from medcoss.training.meter import FlopCount, Meter
from medcoss.training.precision import Choice, gradient_scaler, number_type, precision
from medcoss.training.telemetry import Lines
from medcoss.training.watch import NAMES, NotFinite, Watch

GPU_WORKERS = 4
# a scale halved so often has left out many steps on end
SMALLEST_SCALE = 1e-6


class Task(Protocol):
    """What is trained: the modules with their parameters, and the loss of one batch."""

    modules: nn.Module

    @property
    def frozen(self) -> nn.Module | None:
        """What takes part without being trained."""

    def loss(self, batch: Any, device: torch.device) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise and the named numbers of this batch, all of them means over its `terms`."""

    def terms(self, batch: Any) -> int:
        """Number of equal terms that the loss of this batch is the mean of; asked when a batch is cut."""


class Follower(Protocol):
    """What looks at the weights after every step, with a state of its own in the checkpoints."""

    ended: bool

    def stepped(self, done: int) -> None:
        """Called after every optimizer step, with the number of steps so far."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers."""

    def restore(self, done: int, state: dict[str, Any]) -> None:
        """Take what `state` has given after `done` steps."""


@dataclass(frozen=True)
class LoopSettings:
    """What the specs say of the loop; `lr_field` is the field to name when the loss is not finite."""

    seed: int
    log_every: int = 10
    checkpoint_minutes: float = 10.0
    checkpoint_every: int | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    precision: Choice = "auto"
    compile: bool = False
    lr_field: str = "lr"

    @classmethod
    def of(cls, spec: LoopOptions, lr_field: str) -> "LoopSettings":
        """The fields of a spec that are the loop's."""
        known = {f.name: getattr(spec, f.name) for f in fields(cls) if f.name in type(spec).model_fields}
        return cls(**known, lr_field=lr_field)


@dataclass(frozen=True)
class Orders:
    """What all ranks have agreed to do after a step."""

    stop: bool
    save: bool


@dataclass(frozen=True)
class Gradients:
    """Of a step: this rank's part of the loss and of the named numbers, the samples of all ranks, the floating-point
    operations of this rank.
    """

    loss: Tensor
    values: dict[str, Tensor]
    samples: int
    flops: int


class Loop:
    """Runs `task` over the batches `steps[0] .. steps[total - 1]`.

    `rate(step)` gives the learning rate. `describe(step)` says which samples a step saw, for errors.
    `pictures(done)` is called every `picture_every` steps, if given; `held_out()` gives numbers to report then and
    at the last step. Both run on the main rank alone, the others wait for its next step. A `follower` that has
    `ended` after `held_out()` ends the run early; `done` is the number of steps made. `inputs` are the fingerprints of
    what it is trained on, by the fields that name it: a run does not go on with others. Batches of one `group_of` are
    told of for themselves; `telemetry(done, row)` adds numbers to a row.
    """

    def __init__(self, task: Task, optimizer: torch.optim.Optimizer, steps: Dataset[Any], total: int,
                 rate: Callable[[int], float], context: RunContext, settings: LoopSettings, ranks: Ranks, *,
                 describe: Callable[[int], str] | None = None, picture_every: int | None = None,
                 pictures: Callable[[int], None] | None = None,
                 held_out: Callable[[], dict[str, float]] | None = None,
                 follower: Follower | None = None, inputs: dict[str, str] | None = None,
                 group_of: Callable[[Any], str] | None = None,
                 telemetry: Callable[[int, dict[str, float]], dict[str, float]] | None = None) -> None:  # fmt: skip
        self.task, self.optimizer, self.steps, self.total, self.rate = task, optimizer, steps, total, rate
        self.context, self.settings, self.ranks, self.device = ranks.context(context), settings, ranks, ranks.device
        self.describe, self.picture_every, self.pictures = describe, picture_every, pictures
        self.held_out, self.follower, self.done, self.inputs = held_out, follower, 0, inputs or {}
        self.group_of, self.telemetry, self.lines = group_of, telemetry, Lines(total, self.context)
        self.scaler = gradient_scaler(self.device, settings.precision)
        self.watch, self.flops = Watch(), FlopCount(settings.compile)
        sixteen_bits = number_type(self.device, settings.precision) is not torch.float32
        on_gpu = self.device.type == "cuda"
        peak = peak_tflops(torch.cuda.get_device_name(self.device)) if on_gpu and sixteen_bits else None
        self.meter = Meter(ranks, peak)
        self.checkpoints = Checkpoints(
            self.context.checkpoints, self.context.log, minutes=settings.checkpoint_minutes,
            every=settings.checkpoint_every,
        )  # fmt: skip

    def run(self) -> None:
        """Train to the last step, from the newest checkpoint if there is one.

        Raises Stopped, with a checkpoint written, when the context asks to stop; BadInput naming step and
        batch when the loss or the gradients are not finite, or the input that is not that of the checkpoint.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        first = self.done = self._resume()
        self.task.modules.train()
        self.context.progress(first, self.total, "training")
        # layers of large volumes are larger than what the heap keeps
        kept = large_tensors_kept(self.device)
        with self.checkpoints, self._events(first) as events, self._compiled(), kept:
            self.meter.begin()
            for step, batch in self._batches(first):
                orders = self._step(step, batch)
                self._report(step, events)
                self.done = done = step + 1
                if orders.stop or (orders.save and done < self.total):
                    self._save(done, events)
                if orders.stop:
                    self._end(events)
                    raise Stopped
                if self._ended():
                    self.context.progress(done, done, "ended early")
                    break
            self._refuse(self.watch.found(wait=True))
            self._end(events)
        self.task.modules.eval()

    def _resume(self) -> int:
        self.ranks.align(self.task.modules)
        state: TrainingState | None = self.ranks.from_main(self.checkpoints.latest() if self.ranks.main else None)
        if state is None:
            return 0
        state.check(self.inputs)
        state.restore(self.task.modules, self.optimizer, self.scaler)
        if self.follower is not None:
            self.follower.restore(state.step, state.follower)
        self.context.log(f"resumed from the checkpoint at step {state.step}")
        if state.world != self.ranks.world:
            self.context.log(
                f"the checkpoint is of {state.world} processes, now there are {self.ranks.world}: "
                "the training goes on, but not to the same bits", "warning",
            )  # fmt: skip
        return state.step

    def _ended(self) -> bool:
        return self.follower is not None and self.follower.ended

    @contextlib.contextmanager
    def _events(self, first: int) -> Iterator[Events | None]:
        if not self.ranks.main:
            yield None
            return
        with tempfile.TemporaryDirectory() as folder:
            events = Events(Path(folder), first, self.context)
            try:
                yield events
            finally:
                events.close()

    def _compiled(self) -> contextlib.AbstractContextManager[None]:
        if not self.settings.compile:
            return contextlib.nullcontext()
        modules = [self.task.modules, *([self.task.frozen] if self.task.frozen is not None else [])]
        return compiled_blocks(modules, self.device, lambda line: self.context.log(line, "warning"))

    def _batches(self, first: int) -> Iterator[tuple[int, Any]]:
        """Step numbers and this rank's share of each batch; the wait for them is measured."""
        share = slice(self.ranks.rank, None, self.ranks.world)
        made = isinstance(self.steps, Sharing)
        if isinstance(self.steps, Sharing):
            self.steps.share = share
        # a run that was killed once it had ended early is not to go on
        numbers = range(first, first if self._ended() else self.total)
        on_gpu = self.device.type == "cuda"
        batches = loaded(self.steps, numbers, GPU_WORKERS if on_gpu else 0, pinned=on_gpu)
        for step in numbers:
            with self.meter.waiting():
                batch = next(batches)
            yield step, batch if made or self.ranks.world == 1 else cut(batch, share)

    def _step(self, step: int, batch: Any) -> Orders:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group.get("lr_scale", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        made = self._gradients(step, batch)
        trained = [p for p in self.task.modules.parameters() if p.grad is not None]
        self.ranks.sum_in_place([*(p.grad for p in trained if p.grad is not None), made.loss])
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        # an overflow under float16 is the scaler's to handle: it leaves the step out
        self.watch.add(step, *([made.loss] if self.scaler.is_enabled() else [made.loss, norm]))
        orders = self._agree(step)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(trained, self.settings.clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.follower is not None:
            self.follower.stepped(step + 1)
        group = self.group_of(batch) if self.group_of is not None else None
        self.meter.add(made.values, norm, made.samples, made.flops, group)
        return orders

    def _gradients(self, step: int, batch: Any) -> Gradients:
        """Run the micro-batches of this rank's share; their gradients add up in the parameters."""
        parts = self.settings.accumulate
        cuts = parts * self.ranks.world > 1
        whole, count = float(self.task.terms(batch)) if cuts else 1.0, float(samples(batch))
        whole, count = self.ranks.totals([whole, count])
        loss, named, flops = torch.zeros((), device=self.device), dict[str, Tensor](), 0
        for part in range(parts):
            share = cut(batch, slice(part, None, parts)) if parts > 1 else batch
            # of reports, shares hold different numbers of tokens
            weight = self.task.terms(share) / max(whole, 1.0) if cuts else 1.0
            torch.manual_seed(_seed(self.settings.seed, step, self.ranks.rank, part))
            (value, values), operations = self.flops.of(signature(share), partial(self._backward, share, weight))
            loss, flops = loss + value, flops + operations
            for name, number in values.items():
                named[name] = named.get(name, 0.0) + number.detach() * weight
        return Gradients(loss, named, int(count), flops)

    def _backward(self, share: Any, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        with precision(self.device, self.settings.precision):
            loss, values = self.task.loss(share, self.device)
        part = loss * weight
        self.scaler.scale(part).backward()
        return part.detach().float(), values

    def _agree(self, step: int) -> Orders:
        """Ask every rank; raises BadInput on all of them when one has met numbers that are not finite."""
        found = self.watch.found()
        save = self.ranks.main and self.checkpoints.due(step + 1)
        asked = [self.context.should_stop(), save, found.code if found else 0]
        stop, save, code = self.ranks.highest([int(number) for number in asked])
        self._refuse(NotFinite.from_code(code) if code else None)
        return Orders(bool(stop), bool(save))

    def _refuse(self, found: NotFinite | None) -> None:
        if found is not None:
            batch = f" ({self.describe(found.step)})" if self.describe else ""
            raise BadInput(f"{NAMES[found.what]} not finite at step {found.step + 1}{batch}; lower the learning rate "
                           "or look for extreme inputs", self.settings.lr_field)  # fmt: skip

    def _report(self, step: int, events: Events | None) -> None:
        done, row = step + 1, dict[str, float]()
        if done % self.settings.log_every == 0 or done == self.total:
            row = self._row(step)
            row |= self.telemetry(done, row) if self.telemetry is not None else {}
            self.context.progress(done, self.total, "training")
        shown = self.picture_every is not None and done % self.picture_every == 0 and done < self.total
        if shown or done == self.total:
            row |= self._looked_at(done, pictures=shown)
            if self.follower is not None:
                self.follower.ended = self.ranks.from_main(self.follower.ended)
        if row:
            self.context.metrics(done, row)
            self.lines(done, row)
            if events is not None:
                events.add(done, row)
        if shown and events is not None:
            events.keep()

    def _row(self, step: int) -> dict[str, float]:
        row = self.meter.row() | {"lr": self.rate(step)}
        if self.scaler.is_enabled():
            row["loss_scale"] = self.scaler.get_scale()
            if row["loss_scale"] < SMALLEST_SCALE:
                raise BadInput(f"gradients overflow float16 in every step (up to step {step + 1}); use bf16 or fp32",
                               "precision")  # fmt: skip
        return row

    def _looked_at(self, done: int, pictures: bool) -> dict[str, float]:
        """Draw pictures and return the held-out numbers of the weights so far, on the main rank."""
        # weights that a number which is not finite has touched would give more of them
        self._refuse(self.watch.found(wait=True))
        if not self.ranks.main:
            return {}
        with as_written(self.settings.compile):
            if pictures and self.pictures is not None:
                self.pictures(done)
            found = self.held_out() if self.held_out is not None else {}
        self.task.modules.train()
        return found

    def _save(self, done: int, events: Events | None) -> None:
        # a state that a number which is not finite has touched is never stored
        self._refuse(self.watch.found(wait=True))
        if self.ranks.main:
            self.checkpoints.save(
                TrainingState.of(
                    done,
                    self.ranks.world,
                    self.task.modules,
                    self.optimizer,
                    self.scaler,
                    self.follower.state() if self.follower is not None else None,
                    self.inputs,
                )
            )
        if events is not None:
            # a run that is killed goes on from here: what was told up to now must not be lost with it
            events.keep()

    def _end(self, events: Events | None) -> None:
        self.checkpoints.wait()
        if events is not None:
            events.keep()


def _seed(*numbers: int) -> int:
    """A seed for torch that depends on nothing but `numbers`."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
