"""Local copies of stored folders: verified by hash, capped in size, shared by processes."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core import tracing
from services.core.storage import ObjectStore, place_of

# brings files by their paths, those that are not there yet
Bring = Callable[[Iterable[str]], None]
# room is made for so many bytes at once where files are brought a few at a time: making it looks through the cache
_ROOM_AT_ONCE = 64 * 2**20


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
        # users share the lock, for what is used is not removed: one that trains for days makes nobody wait
        with self._lock(record_id, fcntl.LOCK_SH):
            if not target.is_dir():
                # of a lock of its own: no user waits for the others, who may wait for that one in turn
                with self._lock(f"{record_id}.download", fcntl.LOCK_EX):
                    if not target.is_dir():
                        self._download(record_id, prefix, files, should_stop)
            os.utime(target)
            yield target

    @contextmanager
    def outline(self, record_id: str, attempt: str, prefix: str, files: list[FileEntry],
                should_stop: Callable[[], bool] = lambda: False) -> Iterator[tuple[Path, Bring | None]]:  # fmt: skip
        """A folder that holds files of the names and sizes of a record's, without content, and what brings the content
        of those that are needed, verified; or the whole record and None, if it is here. Gone after the context.

        `attempt` tells apart who wants the same record. Raises, and brings up, what `fetch` does.
        """
        with self._lock(record_id, fcntl.LOCK_SH):
            whole = self.folders / record_id
            if whole.is_dir():
                os.utime(whole)
                yield whole, None
                return
        name = f"{record_id}-{attempt}"
        with self._lock(name, fcntl.LOCK_EX):
            made = _Outline(self, record_id, name, prefix, files, should_stop)
            try:
                made.write()
                yield made.folder, made.bring
            finally:
                shutil.rmtree(made.folder, ignore_errors=True)

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
        self.make_room(sum(f.size for f in files), record_id)
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

    def make_room(self, needed: int, record_id: str, has: int = 0) -> None:
        """Remove the least recently used for `needed` more bytes of a record that has some already; or NoRoom."""
        if has + needed > self.max_bytes:
            raise NoRoom(
                f"{has + needed:,} bytes of {record_id} are needed, the worker's cache may hold {self.max_bytes:,}; "
                "raise MEDCOSS_CACHE_MAX_BYTES"
            )
        kept = [p for p in self.folders.iterdir() if p.is_dir()]
        left = [p for p in self.partial.iterdir() if p.is_dir() and p.name != record_id]
        sizes = {p: sum(_on_disk(f.stat()) for f in p.rglob("*") if f.is_file()) for p in kept}
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


class _Outline:
    """A record's files without content, but for those that were brought."""

    def __init__(self, cache: LocalCache, record_id: str, name: str, prefix: str, files: list[FileEntry],
                 should_stop: Callable[[], bool]) -> None:  # fmt: skip
        self.folder = cache.folders / name
        self._cache, self._name, self._prefix, self._should_stop = cache, name, prefix, should_stop
        self._record_id, self._files = record_id, files
        self._left = {file.path: file for file in files}
        self._has = self._room = 0

    def write(self) -> None:
        """Make the folder anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for file in self._left.values():
            with place_of(file, self.folder).open("wb") as empty:
                empty.truncate(file.size)

    def bring(self, paths: Iterable[str]) -> None:
        """Fetch files into their places. What is no file of the record does not matter."""
        wanted = [file for path in paths if (file := self._left.pop(path, None)) is not None]
        if not wanted:
            return
        needed, whole = (sum(file.size for file in these) for these in (wanted, self._files))
        if 2 * needed > whole and whole <= self._cache.max_bytes:
            self._share(wanted)
            return
        if needed > self._room:
            more = min(sum(f.size for f in self._left.values()), _ROOM_AT_ONCE, self._cache.max_bytes // 64)
            self._room = max(needed, min(needed + more, self._cache.max_bytes - self._has))
            self._cache.make_room(self._room, self._name, self._has)
        with tracing.span("download", record=self._name, files=len(wanted), bytes=needed):
            self._cache.store.download(self._prefix, wanted, self.folder, self._should_stop)
        self._has, self._room = self._has + needed, self._room - needed

    def _share(self, wanted: list[FileEntry]) -> None:
        """Fetch the whole record, for others on this machine, too, and have the files of that."""
        with self._cache.fetch(self._record_id, self._prefix, self._files, self._should_stop) as whole:
            for file in wanted:
                place = self.folder / file.path
                place.unlink()
                place.hardlink_to(whole / file.path)


def _on_disk(status: os.stat_result) -> int:
    """Bytes that a file takes: one without content takes none, one that stands in two folders takes them once."""
    return min(status.st_size, status.st_blocks * 512) // status.st_nlink
