"""One run in a script or a notebook: a `RunContext` that writes to a folder, shows progress and minds Ctrl-C."""

import contextlib
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from medcoss.library.display import Display
from medcoss.run import LocalCheckpoints, LocalParts, RunEvent

PARTS = "parts"  # folder of what prepare has finished


def world() -> int:
    """Number of processes that train together: one, or as many as torchrun started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """True in the process that writes and reports: the only one, or rank 0 under torchrun."""
    return world() == 1 or os.environ.get("RANK", "0") == "0"


class Session:
    """Reports, artifacts and checkpoints of one run below `root`; only the main process writes them."""

    def __init__(self, root: Path, display: Display) -> None:
        self.root, self.display, self.main = root, display, is_main()
        self.done = self.total = 0
        self.stopping = False
        self._announced = False

    @property
    def checkpoints(self) -> "SessionCheckpoints":
        """The run's checkpoints, in `root/checkpoints`."""
        return SessionCheckpoints(self.root / "checkpoints", session=self)

    @property
    def parts(self) -> LocalParts:
        """The run's finished parts, in `root/parts`."""
        return LocalParts(self.root / PARTS)

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Show the progress."""
        self.done, self.total = done, total
        self.display.progress(done, total)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Append a line to `metrics.jsonl`."""
        if not self.main:
            return
        with (self.root / "metrics.jsonl").open("a") as handle:
            handle.write(json.dumps({"step": step, **values}) + "\n")
        self.display.metrics(values)

    def log(self, message: str, level: str = "info") -> None:
        """Show a line and append it to `log.txt`."""
        if not self.main:
            return
        with (self.root / "log.txt").open("a", encoding="utf-8") as handle:
            handle.write(f"{level}: {message}\n")
        self.display.line(message if level == "info" else f"{level}: {message}")

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Append a line to `events.jsonl`; the log says it in words."""
        if not self.main:
            return
        with (self.root / "events.jsonl").open("a") as handle:
            handle.write(json.dumps({"event": name, "modality": modality, **values}) + "\n")

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Copy the file to `root/artifacts/<name>`."""
        if not self.main:
            return
        target = self.root / "artifacts" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def should_stop(self) -> bool:
        """True once Ctrl-C or SIGTERM has come."""
        if self.stopping and not self._announced:
            self._announced = True
            self.display.line("stopping; Ctrl-C once more stops at once")
        return self.stopping

    def forget_after(self, step: int) -> None:
        """Drop the numbers of steps that will be run again."""
        path = self.root / "metrics.jsonl"
        if path.is_file():
            rows = [row for row in path.read_text().splitlines(keepends=True) if _step(row) <= step]
            path.write_text("".join(rows))

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Stop in good order on Ctrl-C and SIGTERM; a second Ctrl-C stops at once."""
        if threading.current_thread() is not threading.main_thread():
            # Python hands signals to the main thread alone
            yield
            return
        # torchrun sends Ctrl-C on to processes that the terminal has told already
        alone = world() == 1

        def stop(number: int, frame: FrameType | None) -> None:
            if self.stopping and number == signal.SIGINT and alone:
                raise KeyboardInterrupt
            self.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _step(row: str) -> int:
    """The step of a line of metrics; a half line of a killed run is after every step."""
    try:
        return int(json.loads(row)["step"])
    except ValueError:
        return 2**63


class SessionCheckpoints(LocalCheckpoints):
    """Checkpoints in the run's folder; going on from one drops the numbers that came after it."""

    def __init__(self, root: Path, session: Session) -> None:
        super().__init__(root)
        self._session = session

    def save(self, step: int, directory: Path) -> None:
        """Store a checkpoint and remember how far the run is."""
        super().save(step, directory)
        self._session.done = step

    def latest(self, directory: Path) -> int | None:
        """Copy the newest whole checkpoint into `directory`; None when there is none."""
        step = super().latest(directory)
        self._session.forget_after(step or 0)
        return step
