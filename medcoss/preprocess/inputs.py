"""What all recipes share: listing raw files, splits, and collecting bad inputs."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.preprocess import Splits
from medcoss.specs.raw import SPLIT_NAMES, is_shown
from medcoss.specs.records import BadFile


@dataclass
class Report:
    """What became of every file of a raw dataset."""

    inputs: int = 0
    bad: list[BadFile] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    left_out: list[BadFile] = field(default_factory=list)

    def reject(self, path: str, error: BadInput) -> None:
        """Note an input that cannot be used; the path is already in the list entry, so not in the reason."""
        self.bad.append(BadFile(path=path, reason=error.message))


def raw_files(root: Path) -> list[str]:
    """Paths of all files below `root`, relative, with forward slashes, sorted; hidden ones are left out."""
    found = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return sorted(path for path in found if is_shown(path))


def folder_split(path: str) -> str:
    """The split that a folder of `path` names; train when none does."""
    for part in PurePosixPath(path).parts[:-1]:
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
    return "train"


def random_splits(groups: Iterable[str], splits: Splits, seed: int) -> dict[str, str]:
    """Divide groups at random: ordered by a seeded hash, the first go to test, the next to val, the rest to train."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    test = round(len(ordered) * splits.test_fraction)
    val = round(len(ordered) * splits.val_fraction)
    return {group: "test" if i < test else "val" if i < test + val else "train" for i, group in enumerate(ordered)}


def assign_splits(groups: dict[str, str], splits: Splits, seed: int) -> dict[str, str]:
    """Split of every path; `groups` maps a path to the group that may not be divided."""
    if splits.method == "folders":
        return {path: folder_split(path) for path in groups}
    chosen = random_splits(groups.values(), splits, seed)
    return {path: chosen[group] for path, group in groups.items()}


def step(context: RunContext, done: int, total: int, what: str) -> None:
    """Report progress between two files; raises Stopped when asked to stop."""
    if context.should_stop():
        raise Stopped
    context.progress(done, total, what)
