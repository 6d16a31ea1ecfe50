"""Checkpoints: everything that a run needs to go on, written while the training goes on."""

import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medcoss.run import BadInput, CheckpointStore

WEIGHTS, REST = "model.safetensors", "optimizer.pt"
# failures in a row that end a run, and seconds from one to the next checkpoint
TRIES, AGAIN_S = 3, 60.0


@dataclass(frozen=True)
class TrainingState:
    """All of a run after `step` steps, in CPU memory; `inputs` are the fingerprints of what it is trained on, by name.

    Random numbers are not among it: each step seeds its own from the run's seed, its number and its rank.
    """

    step: int
    world: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    follower: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, step: int, world: int, modules: nn.Module, optimizer: torch.optim.Optimizer,
           scaler: torch.amp.GradScaler, follower: dict[str, Any] | None = None,
           inputs: dict[str, str] | None = None) -> "TrainingState":  # fmt: skip
        """A copy of the present state, which the next steps do not change."""
        weights = {name: _copied(tensor).contiguous() for name, tensor in modules.state_dict().items()}
        rest = (_copied(part) for part in (optimizer.state_dict(), scaler.state_dict(), follower or {}))
        return cls(step, world, weights, *rest, inputs or {})

    def restore(self, modules: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        """Bring modules, optimizer and scaler to this state."""
        modules.load_state_dict(self.weights)
        optimizer.load_state_dict(self.optimizer)
        if self.scaler:
            scaler.load_state_dict(self.scaler)

    def write(self, folder: Path) -> None:
        """Write `model.safetensors` and `optimizer.pt`."""
        save_file(self.weights, folder / WEIGHTS)
        rest = {"world": self.world, "optimizer": self.optimizer, "scaler": self.scaler, "follower": self.follower,
                "inputs": self.inputs}  # fmt: skip
        torch.save(rest, folder / REST)

    @classmethod
    def read(cls, step: int, folder: Path) -> "TrainingState":
        """What `write` has written."""
        rest = torch.load(folder / REST, map_location="cpu", weights_only=True)
        # checkpoints of earlier versions have neither
        later = (rest.get("follower", {}), rest.get("inputs", {}))
        return cls(step, rest["world"], load_file(folder / WEIGHTS), rest["optimizer"], rest["scaler"], *later)

    def check(self, inputs: Mapping[str, str]) -> None:
        """Raises BadInput when one of the inputs is not what it was when the checkpoint was made."""
        for name, before in self.inputs.items():
            present = inputs.get(name, "none")
            if present != before:
                raise BadInput(
                    f"the checkpoint of step {self.step} was made with other content (SHA-256 {before[:12]}..., now "
                    f"{present[:12]}...), and a run goes on only with the very inputs that it began with; bring them "
                    "back, or start anew as a new job",
                    name,
                )


def _copied(value: Any) -> Any:
    """A nested state with every tensor copied to CPU memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value


class Checkpoints:
    """Writes the checkpoints of a run in the background, at most one at a time.

    A checkpoint that could not be written is logged, and a newer one is due soon: a store that is away for a while
    costs no training. The error of the third one in a row is raised. Left as a context, it waits for the
    checkpoint in flight and keeps its error to itself: whoever leaves on an exception has one already.
    """

    def __init__(self, store: CheckpointStore, log: Callable[[str, str], None], *, minutes: float,
                 every: int | None = None) -> None:  # fmt: skip
        self._store, self._log, self._seconds, self._every = store, log, minutes * 60, every
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._running: tuple[TrainingState, Future[None]] | None = None
        self._failures = 0
        self._last = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        self._last = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._writer.shutdown()

    def due(self, step: int) -> bool:
        """True when it is time for a checkpoint after `step` steps. Raises the error of the third failure in a row."""
        if self._running is not None and self._running[1].done():
            self._settle()
        by_step = self._every is not None and step % self._every == 0
        return by_step or time.monotonic() - self._last >= self._seconds

    def latest(self) -> TrainingState | None:
        """The newest whole checkpoint, or None."""
        with tempfile.TemporaryDirectory() as folder:
            step = self._store.latest(Path(folder))
            # a run that has stopped while it computed features keeps those
            if step is None or not (Path(folder) / REST).is_file():
                return None
            return TrainingState.read(step, Path(folder))

    def save(self, state: TrainingState) -> None:
        """Begin to write a checkpoint, once the one before has ended. Raises the third error in a row."""
        self._settle()
        self._last = time.monotonic()
        self._begin(state)

    def wait(self) -> None:
        """Wait until the last checkpoint is written, tried again where needed. Raises what went wrong three times."""
        while (failed := self._settle()) is not None:
            self._begin(failed)

    def _begin(self, state: TrainingState) -> None:
        self._running = (state, self._writer.submit(self._write, state))

    def _settle(self) -> TrainingState | None:
        """Wait for the checkpoint in flight; the state that could not be written, or None."""
        if self._running is None:
            return None
        (state, future), self._running = self._running, None
        error = future.exception()
        if error is None:
            self._failures = 0
            self._log(f"checkpoint written at step {state.step}", "info")
            return None
        self._failures += 1
        error.add_note(f"while the checkpoint of step {state.step} was written")
        self._log(f"the checkpoint of step {state.step} could not be written ({type(error).__name__})", "error")
        if self._failures >= TRIES:
            raise error
        # soon, but not at once: the store needs time
        self._last = time.monotonic() - max(self._seconds - AGAIN_S, 0)
        return state

    def _write(self, state: TrainingState) -> None:
        with tempfile.TemporaryDirectory() as folder:
            state.write(Path(folder))
            self._store.save(state.step, Path(folder))
