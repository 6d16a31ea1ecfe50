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
        # the last step that was told of, None before the first: a training may go on from any
        self._told: int | None = None
        self._step, self._pace, self._since = 0, dict[str, float](), time.monotonic()

    def progress(self, message: str) -> None:
        """A phase ends when another begins."""
        if message in _NAMES and message != self._name:
            self.end()
            self._name, self._began = message, time.monotonic()
            self._since, self._told = self._began, None

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Steps have been made."""
        self._step = step
        self._pace = {"samples_per_s": values["samples_per_s"]} if "samples_per_s" in values else {}
        if self._told is None or time.monotonic() - self._since >= STEPS_S:
            self._tell()

    def _tell(self) -> None:
        moment, first = time.monotonic(), {} if self._told is None else {"first_step": self._told + 1}
        tracing.past("steps", moment - self._since, last_step=self._step, **first, **self._pace)
        self._told, self._since = self._step, moment

    def end(self) -> None:
        """Nothing follows."""
        if self._name:
            if self._told is not None and self._step > self._told:
                self._tell()
            tracing.past(f"stage {self._name}", time.monotonic() - self._began, last_step=self._step)
            self._name = ""
