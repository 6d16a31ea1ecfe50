"""What long work needs from whoever runs it: reporting, stopping and checkpoints.

Library functions take a `RunContext`; the worker gives one that talks to the job's
supervisor and to object storage, a notebook uses `LocalRun`.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from medcoss.specs.fit import Misfit


class BadInput(ValueError):
    """Input that a user has to mend.

    `where` names the file or the field; the message says what was wrong, what was
    expected and what to do.
    """

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.message = message
        self.where = where


def refuse(found: Iterable[Misfit]) -> None:
    """Raise BadInput, naming its field, for the first thing that does not fit."""
    for misfit in found:
        raise BadInput(misfit.detail, misfit.field.split("/")[0])


class Stopped(Exception):
    """Raised by long work that was asked to stop, after its checkpoint was written."""


class RanksLost(Exception):
    """Raised when the other processes that train together with this one are gone or do not answer."""


class CheckpointStore(Protocol):
    """Where the checkpoints of one run live."""

    def save(self, step: int, directory: Path) -> None:
        """Store every file of `directory` as the checkpoint of `step`; it counts only when whole."""

    def latest(self, directory: Path) -> int | None:
        """Fetch the newest whole checkpoint into `directory` and return its step, or None."""


# of a modality: its loss no longer falls, or falls again; it is forgotten beyond what its owner allows
RunEvent = Literal["stopped_learning", "learns_again", "forgotten"]


class PartStore(Protocol):
    """Where a run keeps finished parts of its work, each a file whose name says all about it."""

    def names(self) -> list[str]:
        """Names of the parts of this run, of all its attempts."""

    def put(self, path: Path, done: int) -> None:
        """Keep a file under its own name, when whole; `done` units of work are finished with it."""

    def get(self, name: str, folder: Path) -> Path | None:
        """Fetch a part into `folder`; None when it is gone or damaged."""


class RunContext(Protocol):
    """The link between long work and its supervisor."""

    @property
    def checkpoints(self) -> CheckpointStore:
        """Where this run keeps its checkpoints."""

    @property
    def parts(self) -> PartStore:
        """Where this run keeps finished parts of its work."""

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Report that `done` of `total` units of work are finished."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Report named numbers that belong to `step`."""

    def log(self, message: str, level: str = "info") -> None:
        """Report one line for people. Never header values of patients."""

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Report that something has become of a modality which somebody may want to be told of."""

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Keep the file `path` with the run under `name`."""

    def should_stop(self) -> bool:
        """True once the run was asked to stop: write a checkpoint and raise `Stopped`."""


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass
class LocalCheckpoints:
    """Checkpoints in a local folder, one sub-folder a step, the manifest written last; two whole ones are kept."""

    root: Path
    keep: int = 2

    def save(self, step: int, directory: Path) -> None:
        """Copy `directory` to `root/<step>` and write its manifest last."""
        target = self.root / f"{step:09d}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(directory, target)
        names = sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file())
        files = [{"path": n, "size": (target / n).stat().st_size, "sha256": sha256_file(target / n)} for n in names]
        manifest = target / "manifest.partial"
        manifest.write_text(json.dumps({"step": step, "files": files}))
        # in one step: a run killed here leaves no half manifest
        manifest.rename(target / "manifest.json")
        whole = sorted(p.parent for p in self.root.glob("*/manifest.json"))
        # newer ones are of a run that went on from here once before
        kept = [p for p in whole if p <= target][-self.keep :]
        for old in self.root.iterdir():
            if old.is_dir() and old not in kept:
                shutil.rmtree(old)

    def latest(self, directory: Path) -> int | None:
        """Copy the newest whole checkpoint into `directory`; None when there is none."""
        for candidate in sorted(self.root.glob("*/manifest.json"), reverse=True):
            manifest = json.loads(candidate.read_text())
            folder = candidate.parent
            if all(
                (folder / f["path"]).is_file() and sha256_file(folder / f["path"]) == f["sha256"]
                for f in manifest["files"]
            ):
                shutil.copytree(folder, directory, dirs_exist_ok=True)
                return int(manifest["step"])
        return None


@dataclass
class LocalParts:
    """Parts in a local folder, as links where the disk allows it."""

    root: Path

    def names(self) -> list[str]:
        """The files that are there."""
        return sorted(p.name for p in self.root.iterdir()) if self.root.is_dir() else []

    def put(self, path: Path, done: int) -> None:
        """Keep a file."""
        self.root.mkdir(parents=True, exist_ok=True)
        _linked(path, self.root / path.name)

    def get(self, name: str, folder: Path) -> Path:
        """Bring a file to `folder`."""
        _linked(self.root / name, folder / name)
        return folder / name


def _linked(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        # another disk, or one without links
        shutil.copyfile(source, target)


@dataclass
class LocalRun:
    """A run without a platform: reports are kept in memory, artifacts and checkpoints under `root`."""

    root: Path
    stop_requested: bool = False
    history: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    events: list[tuple[RunEvent, str, dict[str, float]]] = field(default_factory=list)
    done: tuple[int, int] = (0, 0)

    @property
    def checkpoints(self) -> LocalCheckpoints:
        """The run's checkpoints, in `root/checkpoints`."""
        folder = self.root / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return LocalCheckpoints(folder)

    @property
    def parts(self) -> LocalParts:
        """The run's parts, in `root/parts`."""
        return LocalParts(self.root / "parts")

    def progress(self, done: int, total: int, message: str = "") -> None:
        """Remember the progress."""
        self.done = (done, total)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Remember the numbers."""
        self.history.append((step, dict(values)))

    def log(self, message: str, level: str = "info") -> None:
        """Remember the line."""
        self.lines.append(f"{level}: {message}")

    def event(self, name: RunEvent, modality: str, values: dict[str, float]) -> None:
        """Remember the event."""
        self.events.append((name, modality, values))

    def artifact(self, path: Path, name: str, content_type: str) -> None:
        """Copy the file to `root/artifacts/<name>`."""
        target = self.root / "artifacts" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def should_stop(self) -> bool:
        """True once `stop_requested` was set."""
        return self.stop_requested
