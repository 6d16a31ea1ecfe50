"""Folders for one attempt each, which are gone afterwards even when somebody was killed."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class WorkFolder:
    """A folder, and the file descriptor of its lock: whoever has inherited it keeps the folder alive."""

    path: Path
    lock_fd: int


@contextmanager
def work_folder(root: Path, name: str) -> Iterator[WorkFolder]:
    """A fresh folder below `root`. Folders whose users were killed are removed first."""
    root.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    path = root / f"{name}-{secrets.token_hex(4)}"
    lock = _lock_of(path)
    with _locked(lock) as handle:
        path.mkdir()
        try:
            yield WorkFolder(path.resolve(), handle.fileno())
        finally:
            shutil.rmtree(path, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _locked(lock: Path) -> IO[str]:
    """The lock file, open and locked. Before it is locked it looks abandoned, and somebody may remove it."""
    while True:
        handle = lock.open("w")
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle.fileno()).st_nlink:
            return handle
        handle.close()


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_abandoned(root: Path) -> None:
    for lock in root.glob("*.lock"):
        try:
            handle = lock.open("r+")
        except FileNotFoundError:
            continue
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            lock.unlink(missing_ok=True)
