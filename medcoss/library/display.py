"""Progress for people: a bar on a terminal or in a notebook, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_EVERY_S = 10.0


class Display:
    """Shows one run on stderr, so that a script's own output stays clean; nothing when `quiet`."""

    def __init__(self, title: str, quiet: bool = False, console: Console | None = None) -> None:
        self.title = title
        self.console = console or Console(stderr=True)
        self.console.quiet = self.console.quiet or quiet
        self._live = self.console.is_terminal or self.console.is_jupyter
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(), TextColumn("left"),
            console=self.console, disable=quiet or not self._live,
        )  # fmt: skip
        self._numbers = ""
        self._done = self._total = self._first = 0
        self._began = self._printed = time.monotonic()

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._bar.stop()

    def progress(self, done: int, total: int) -> None:
        """`done` of `total` are finished; another total begins another count."""
        if total != self._total or done < self._done:
            self._total, self._first, self._began = total, done, time.monotonic()
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._bar.add_task(self.title, total=total, completed=done, numbers=self._numbers)
        self._done = done
        for task in self._bar.task_ids:
            self._bar.update(task, completed=done, numbers=self._numbers)
        if not self._live and (done == total or time.monotonic() - self._printed >= PLAIN_EVERY_S):
            self._printed = time.monotonic()
            self.line(f"{self.title} {done}/{total} {self._numbers} {self._left()}".rstrip())

    def metrics(self, values: dict[str, float]) -> None:
        """The numbers to show beside the progress: losses, speed, share of time spent waiting for data."""
        shown = [f"{n} {v:.4g}" for n, v in values.items() if n.startswith(("loss", "distill"))]
        if "samples_per_s" in values:
            shown.append(f"{values['samples_per_s']:.3g} samples/s")
        if "data_wait" in values:
            shown.append(f"data wait {values['data_wait']:.0%}")
        self._numbers = ", ".join(shown)

    def line(self, text: str) -> None:
        """One line above the bar."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _left(self) -> str:
        """Time left at the speed so far."""
        made, seconds = self._done - self._first, time.monotonic() - self._began
        if not made or self._done == self._total:
            return ""
        left = round((self._total - self._done) * seconds / made)
        return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
