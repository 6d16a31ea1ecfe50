"""What a training tells beside its rows of metrics: lines of its log; of each modality of a stage, how many samples it
has seen, and whether it still learns.
"""

import time
from collections import deque
from collections.abc import Callable

from medcoss.run import RunContext

# of the rows that the run is going to have, and the fewest that say anything
_WINDOW, _FEWEST = 0.15, 8
# a loss that falls by less from one window to the next has stopped to fall
_LEAST = 2e-3
# the end of a schedule, where nothing learns any more
_UNTIL = 0.85
# between two lines of the log, where nothing is measured
_PACE_S = 60.0
_TOLD = ("loss/", "val/", "val_loss")


class Lines:
    """Tells rows of metrics in the log: each with numbers of held-out data, and of the others one a minute."""

    def __init__(self, total: int, context: RunContext) -> None:
        self._total, self._context, self._last = total, context, time.monotonic()

    def __call__(self, done: int, row: dict[str, float]) -> None:
        """Tell of a row that belongs to the first `done` steps, if it is to be told."""
        told = {name: value for name, value in row.items() if name == "loss" or name.startswith(_TOLD)}
        measured = any(name.startswith("val") for name in told)
        if not told or not (measured or time.monotonic() - self._last >= _PACE_S):
            return
        self._last = time.monotonic()
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in told.items())
        self._context.log(f"step {done:,} of {self._total:,}: {numbers}")


class Telemetry:
    """Adds to the rows of metrics: `samples_seen/<modality>` and `stalled/<modality>`, 1 while a loss does not fall.

    `seen(done)` gives the samples by modality after so many steps. A loss stalls when its mean over a window of rows is
    no longer 0.2 % below that over the window before; log and events tell when that begins and ends. A run that goes on
    from a checkpoint begins new windows. In the last part of a run, where the learning rate ends, nothing is said.
    """

    def __init__(self, seen: Callable[[int], dict[str, int]], total: int, log_every: int, context: RunContext) -> None:
        self._seen, self._total, self._context = seen, total, context
        self._window = max(round(_WINDOW * total / log_every), _FEWEST)
        self._rows: dict[str, deque[float]] = {}
        self._stalled: set[str] = set()

    def __call__(self, done: int, row: dict[str, float]) -> dict[str, float]:
        """What is added to a row that belongs to the first `done` steps."""
        found = {f"samples_seen/{name}": float(count) for name, count in self._seen(done).items()}
        for name, value in row.items():
            if name.startswith("loss/"):
                found |= self._followed(name.removeprefix("loss/"), value, done)
        return found

    def _followed(self, modality: str, loss: float, done: int) -> dict[str, float]:
        rows = self._rows.setdefault(modality, deque(maxlen=2 * self._window))
        rows.append(loss)
        if len(rows) < 2 * self._window:
            return {}
        values = [*rows]
        before, now = sum(values[: self._window]) / self._window, sum(values[self._window :]) / self._window
        stalls = now > before * (1 - _LEAST)
        if stalls != (modality in self._stalled) and done <= _UNTIL * self._total:
            self._tell(modality, stalls, before, now, done)
        return {f"stalled/{modality}": float(modality in self._stalled)}

    def _tell(self, modality: str, stalls: bool, before: float, now: float, done: int) -> None:
        if not stalls:
            self._stalled.discard(modality)
            self._context.log(f"'{modality}' learns again at step {done}: its loss fell from {before:.4g} to {now:.4g}")
            self._context.event("learns_again", modality, {"step": done, "before": before, "now": now})
            return
        self._stalled.add(modality)
        self._context.log(
            f"'{modality}' has stopped learning at step {done}: its loss was {before:.4g} and is {now:.4g}; give it "
            "more weight in mix, raise base_lr, or end the stage", "warning",
        )  # fmt: skip
        self._context.event("stopped_learning", modality, {"step": done, "before": before, "now": now})
