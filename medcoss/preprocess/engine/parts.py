"""Parts: files of records that name the plan and the items they hold, and prove by their hash that they are whole.

`<plan>-<first item>-<end>-<SHA-256>.part`. Any parts that follow on each other do: what an item becomes depends on
nothing else, so it does not matter which attempt has made a part, or where it ended.
"""

import hashlib
import itertools
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medcoss.run import PartStore, sha256_file

# a part ends when it has so many bytes or is so old: no more than that is made twice after a crash
PART_BYTES, PART_SECONDS = 64 * 2**20, 60.0
_NAME = re.compile(r"([0-9a-f]{16})-(\d{9})-(\d{9})-([0-9a-f]{64})\.part")


@dataclass(frozen=True)
class Part:
    """What the name of a part says: of which plan, and items `first` to `end` (exclusive)."""

    name: str
    plan: str
    first: int
    end: int
    sha256: str

    @classmethod
    def named(cls, name: str) -> "Part | None":
        """The part of this name; None for another file."""
        match = _NAME.fullmatch(name)
        return match and cls(name, match[1], int(match[2]), int(match[3]), match[4])


def fetched(store: PartStore, plan: str, first: int, end: int, folder: Path) -> tuple[list[Path], int]:
    """Bring the parts of a plan that follow on each other from item `first` on to `folder`, damaged ones left out.

    Returns them in their order, and the item that is to be made next.
    """
    found = (Part.named(name) for name in store.names())
    usable = {part for part in found if part and part.plan == plan[:16] and part.end <= end}
    paths: list[Path] = []
    best = _farthest(usable)
    while (part := best.get(first)) is not None:
        path = store.get(part.name, folder)
        if path is not None and sha256_file(path) == part.sha256:
            paths.append(path)
            first = part.end
        else:
            usable.remove(part)
            best = _farthest(usable)
    return paths, first


def _farthest(parts: Iterable[Part]) -> dict[int, Part]:
    """By its first item, the part from which those that follow on each other lead farthest. Two attempts that ran at
    once, one of them without knowing that it had lost its lease, have ended their parts at different items.
    """
    best: dict[int, Part] = {}
    reach: dict[int, int] = {}
    for part in sorted(parts, key=lambda part: (-part.first, -part.end, part.name)):
        end = reach.get(part.end, part.end)
        if part.end > part.first and end > reach.get(part.first, part.first):
            best[part.first], reach[part.first] = part, end
    return best


class PartWriter:
    """Gathers the records of successive items into one part after the other, in `folder`."""

    def __init__(self, folder: Path, plan: str, first: int) -> None:
        self._folder, self._plan, self._first = folder, plan[:16], first
        self._open()

    def _open(self) -> None:
        self._path = self._folder / "open"
        self._file = self._path.open("wb")
        self._digest, self._began = hashlib.sha256(), time.monotonic()

    def add(self, records: Path) -> None:
        """Append a file of records, and remove it."""
        with records.open("rb") as file:
            while block := file.read(1 << 20):
                self._digest.update(block)
                self._file.write(block)
        records.unlink()

    def due(self) -> bool:
        """True when it is time to end the part."""
        return self._file.tell() >= PART_BYTES or time.monotonic() - self._began >= PART_SECONDS

    def end(self, end: int) -> Path | None:
        """Close the part, which holds the items before `end`, and begin the next; None when it holds none."""
        self._file.close()
        path = None
        if end > self._first:
            name = f"{self._plan}-{self._first:09d}-{end:09d}-{self._digest.hexdigest()}.part"
            path = self._path.rename(self._folder / name)
        self._first = end
        self._open()
        return path


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Parts of one plan by their first item, each item once. Raises ValueError when items are missing between them."""
    parts = sorted((part for path in paths if (part := Part.named(path.name))), key=lambda part: part.first)
    for before, after in itertools.pairwise(parts):
        if before.plan != after.plan or before.end != after.first:
            raise ValueError(f"the parts {before.name} and {after.name} do not follow on each other")
    folders = {path.name: path for path in paths}
    return [folders[part.name] for part in parts]
