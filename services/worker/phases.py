"""The spans of what a job does between its download and its upload."""

import time

from services.core import tracing

# what the library calls its parts; other messages may name files
_NAMES = frozenset({"training", "features", "clustering"})
# one span for so many steps: a training of weeks must not make a million of them
STEPS_S = 30.0


class Phases:
    """Records a span a phase and one for every STEPS_S of steps."""

    def __init__(self) -> None:
        self._name, self._began = "", time.monotonic()
        self._step, self._since, self._told = 0, time.monotonic(), False

    def progress(self, message: str) -> None:
        """A phase ends when another begins."""
        if message in _NAMES and message != self._name:
            self.end()
            self._name, self._began = message, time.monotonic()
            self._since, self._told = self._began, False

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Steps have been made."""
        moment = time.monotonic()
        if self._told and moment - self._since < STEPS_S:
            return
        pace = {"samples_per_s": values["samples_per_s"]} if "samples_per_s" in values else {}
        tracing.past("steps", moment - self._since, first_step=self._step + 1, last_step=step, **pace)
        self._step, self._since, self._told = step, moment, True

    def end(self) -> None:
        """Nothing follows."""
        if self._name:
            tracing.past(f"stage {self._name}", time.monotonic() - self._began, last_step=self._step)
            self._name = ""
