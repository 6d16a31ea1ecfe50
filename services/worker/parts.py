"""Finished parts of a job's work in the object store."""

from collections.abc import Callable
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core import tracing
from services.core.storage import DamagedFile, ObjectStore


class S3Parts:
    """`jobs/<id>/checkpoints/parts/`: files of all attempts. They need no fence: a part is good for every attempt
    whose work it names, and its name proves what it holds. `saved` is told how much work is finished with each.
    """

    def __init__(self, store: ObjectStore, job_id: str, saved: Callable[[int], None]) -> None:
        self.store, self._saved = store, saved
        # goes with the checkpoints once the job has succeeded
        self.prefix = f"jobs/{job_id}/checkpoints/parts"

    def names(self) -> list[str]:
        """Names of the parts of all attempts."""
        return [key.removeprefix(f"{self.prefix}/") for key in self.store.list_keys(f"{self.prefix}/")]

    def put(self, path: Path, done: int) -> None:
        """Store a file under its name."""
        with tracing.span("part", done=done):
            self.store.put_file(f"{self.prefix}/{path.name}", path)
        self._saved(done)

    def get(self, name: str, folder: Path) -> Path | None:
        """Fetch a part, as its name says by its SHA-256; None when it is gone or damaged."""
        size = self.store.size(f"{self.prefix}/{name}")
        entry = FileEntry(path=name, size=size or 0, sha256=Path(name).stem.rsplit("-", 1)[-1])
        try:
            self.store.download(self.prefix, [entry], folder)
        except DamagedFile:
            return None
        return folder / name
