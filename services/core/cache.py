"""Local copies of stored folders: verified by hash, capped in size, shared by processes."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core import tracing
from services.core.storage import ObjectStore


class NoRoom(Exception):
    """A record is larger than the whole cache may be."""


class LocalCache:
    """Folders under `root`, one a record; the least recently used go first when `max_bytes` is passed.

    Folders that any process has in use are not removed, even if the cap is passed for it.
    """

    def __init__(self, root: Path, max_bytes: int, store: ObjectStore) -> None:
        self.root, self.max_bytes, self.store = root, max_bytes, store
        self.folders, self.partial, self.locks = root / "records", root / "partial", root / "locks"
        for folder in (self.folders, self.partial, self.locks):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def fetch(self, record_id: str, prefix: str, files: list[FileEntry],
              should_stop: Callable[[], bool] = lambda: False) -> Iterator[Path]:  # fmt: skip
        """A folder that holds the verified `files` of a record for as long as the context lasts.

        Raises NoRoom, Stopped when `should_stop` says so, and services.core.storage.DamagedFile when a stored
        file is not the recorded one.
        """
        target = self.folders / record_id
        while True:
            # users share the lock: one that trains for days makes nobody wait
            with self._lock(record_id, fcntl.LOCK_SH):
                if target.is_dir():
                    os.utime(target)
                    yield target
                    return
            with self._lock(record_id, fcntl.LOCK_EX):
                if not target.is_dir():
                    self._download(record_id, prefix, files, should_stop)
            # between the two locks it may be removed again to make room for another

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path | None]:
        """Where a folder may be made that outlives the process, for as long as the context lasts nobody else's.

        What is left there goes when room is made for a record, before any record does. None when another process
        still has it, as one may that a killed process has left behind.
        """
        with (self.locks / name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = self.partial / name
            except BlockingIOError:
                found = None
            yield found

    def _download(self, record_id: str, prefix: str, files: list[FileEntry], should_stop: Callable[[], bool]) -> None:
        self._make_room(sum(f.size for f in files), record_id)
        # moved into place whole; what a killed process has left lies under the same name
        partial = self.partial / record_id
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            with tracing.span("download", record=record_id, files=len(files), bytes=sum(f.size for f in files)):
                self.store.download(prefix, files, partial, should_stop)
            partial.rename(self.folders / record_id)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @contextmanager
    def _lock(self, record_id: str, kind: int) -> Iterator[None]:
        with (self.locks / record_id).open("w") as handle:
            fcntl.flock(handle, kind)
            yield

    def _make_room(self, needed: int, record_id: str) -> None:
        if needed > self.max_bytes:
            raise NoRoom(
                f"{record_id} has {needed:,} bytes, the worker's cache may hold {self.max_bytes:,}; raise "
                "MEDCOSS_CACHE_MAX_BYTES"
            )
        kept = [p for p in self.folders.iterdir() if p.is_dir()]
        left = [p for p in self.partial.iterdir() if p.is_dir() and p.name != record_id]
        sizes = {p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in kept}
        used = sum(sizes.values())
        for folder in left + sorted(kept, key=lambda p: p.stat().st_mtime):
            if folder in sizes and used + needed <= self.max_bytes:
                return
            if self._remove_unused(folder):
                used -= sizes.get(folder, 0)

    def _remove_unused(self, folder: Path) -> bool:
        with (self.locks / folder.name).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(folder, ignore_errors=True)
            return True
