"""Local copies of stored folders: verified by hash, capped in size, shared by processes."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core.storage import ObjectStore


class LocalCache:
    """Folders under `root`, one a record, least recently used first to go when `max_bytes` is passed.

    A folder in use by a process that holds `fetch` is not removed.
    """

    def __init__(self, root: Path, max_bytes: int, store: ObjectStore) -> None:
        self.root, self.max_bytes, self.store = root, max_bytes, store
        self.folders = root / "records"
        self.folders.mkdir(parents=True, exist_ok=True)
        self.locks = root / "locks"
        self.locks.mkdir(exist_ok=True)

    @contextmanager
    def fetch(self, record_id: str, prefix: str, files: list[FileEntry]) -> Iterator[Path]:
        """A folder that holds the verified `files` of a record for as long as the context lasts.

        Raises services.core.storage.DamagedFile when a stored file is not the recorded one.
        """
        target = self.folders / record_id
        with self._lock(record_id, exclusive=True):
            if not target.is_dir():
                self._make_room(sum(f.size for f in files))
                # a folder is moved into place whole: a crash leaves only a temporary one
                with tempfile.TemporaryDirectory(dir=self.root, prefix="fetch-") as temporary:
                    partial = Path(temporary) / "record"
                    partial.mkdir()
                    self.store.download(prefix, files, partial)
                    partial.rename(target)
            os.utime(target)
        with self._lock(record_id, exclusive=False):
            yield target

    @contextmanager
    def _lock(self, record_id: str, *, exclusive: bool) -> Iterator[None]:
        with (self.locks / record_id).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def _make_room(self, needed: int) -> None:
        folders = sorted((p for p in self.folders.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
        sizes = {p: sum(f.stat().st_size for f in p.rglob("*") if f.is_file()) for p in folders}
        used = sum(sizes.values())
        for folder in folders:
            if used + needed <= self.max_bytes:
                return
            with (self.locks / folder.name).open("w") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(folder)
                used -= sizes[folder]
