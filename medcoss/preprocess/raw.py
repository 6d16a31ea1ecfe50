"""The files of a raw dataset, as recipes see them."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from medcoss.run import BadInput, sha256_file
from medcoss.specs.names import SPLIT_NAMES

MISNAMED = "its name is not UTF-8; rename it"
# brings the content of files; what is there already, or no file at all, does not matter
Bring = Callable[[Iterable[str]], None]
# when a plan looks into more files than that, it is going to look into most
_A_FEW = 64


class NotBrought(Exception):
    """A recipe reads a file of which only the name and the size are there."""


class Raw:
    """The files below `root`. Paths are relative, with forward slashes.

    `touched` are the files that were opened, with the SHA-256 of those that were read whole; `findings` is what a
    recipe with a survey has concluded from all items. Files whose names are not UTF-8 are no files of the dataset;
    those that `files` has met are `misnamed`, in a readable form. With `bring`, files may have nothing but name and
    size until it was called for them; with `only`, others cannot be read (NotBrought).
    """

    def __init__(self, root: Path, findings: Any = None, *, bring: Bring | None = None,
                 only: frozenset[str] | None = None) -> None:  # fmt: skip
        self.root, self.findings = root, findings
        self.touched: dict[str, str | None] = {}
        self.misnamed: dict[str, None] = {}
        self._bring, self._only = bring, only
        self._brought: set[str] = set()

    @property
    def brought(self) -> frozenset[str] | None:
        """The files that were looked into and are there; None when all are."""
        return None if self._bring is None else frozenset(self._brought)

    def bring(self, paths: Iterable[str]) -> None:
        """Have the content of files that are going to be read."""
        if self._bring is not None:
            self._bring(paths)

    def _need(self, path: str) -> None:
        if self._only is not None and path not in self._only:
            raise NotBrought(f"{path} is read for an item that does not name it; a recipe has to give it in its files")
        if self._bring is None or path in self._brought:
            return
        self._brought.add(path)
        if len(self._brought) > _A_FEW:
            self._bring(self.files())
            self._bring = None
        else:
            self._bring([path])

    def files(self, suffixes: tuple[str, ...] = ()) -> Iterator[str]:
        """All files, sorted, or those whose names end in one of `suffixes` in any case; hidden ones are left out."""
        for path in _walk(self.root, ""):
            if not _is_utf8(path):
                self.misnamed[printable(path)] = None
            elif not suffixes or path.lower().endswith(suffixes):
                yield path

    def has(self, path: str) -> bool:
        """True when there is such a file."""
        return _inside(path) and (self.root / path).is_file()

    def named(self, stem: str, endings: tuple[str, ...]) -> list[str]:
        """The files `stem` + one of `endings`, these in lower or upper case, in the order of their paths."""
        both = (*endings, *(ending.upper() for ending in endings))
        return sorted(stem + ending for ending in both if self.has(stem + ending))

    def path(self, path: str) -> Path:
        """Where a file lies, for libraries that open files themselves. Raises BadInput when there is none."""
        if not _inside(path):
            raise BadInput("this names a file outside the dataset; expected a path inside it", path)
        found = self.root / path
        if not found.is_file():
            raise BadInput("there is no such file in the dataset", path)
        self._need(path)
        self.touched.setdefault(path, None)
        return found

    def read(self, path: str) -> bytes:
        """The content of a file. Raises BadInput when there is none or the disk cannot read it."""
        try:
            data = self.path(path).read_bytes()
        except OSError as error:
            raise BadInput(f"the file cannot be read ({error.strerror}); copy it again", path) from error
        self.touched[path] = hashlib.sha256(data).hexdigest()
        return data

    def begins(self, path: str, count: int) -> bytes:
        """The first bytes of a file, which does not count as touched."""
        self._need(path)
        with (self.root / path).open("rb") as file:
            return file.read(count)

    def digest(self, path: str) -> str:
        """SHA-256 of a file in hexadecimal, without reading again what was read."""
        return self.touched.get(path) or sha256_file(self.path(path))


def printable(name: str) -> str:
    """A name as it can be written down: bytes that are not UTF-8 as codes, control characters as question marks."""
    told = name.encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else "?" for character in told)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\0" not in path


def _walk(root: Path, folder: str) -> Iterator[str]:
    """Paths below `folder` in the order of the sorted list of all, without holding more than one folder of each level.

    Links to folders are not followed: they may lead round in circles.
    """
    with os.scandir(root / folder) as entries:
        # a folder's slash takes part in the order
        found = sorted(
            f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
            for entry in entries
            if not entry.name.startswith(".") and (entry.is_dir(follow_symlinks=False) or entry.is_file())
        )
    for name in found:
        if name.endswith("/"):
            yield from _walk(root, folder + name)
        else:
            yield folder + name


def folder_split(path: str) -> str:
    """The split that a folder of `path` names; train when none does."""
    for part in PurePosixPath(path).parts[:-1]:
        if part.lower() in SPLIT_NAMES:
            return SPLIT_NAMES[part.lower()]
    return "train"
