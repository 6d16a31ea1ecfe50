"""Finished parts of a job's work in the object store."""

from collections.abc import Callable, Sequence
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core import tracing
from services.core.storage import DamagedFile, ObjectStore


class S3Parts:
    """`jobs/<id>/checkpoints/parts/`: files of all attempts. They need no fence: a part is good for every attempt
    whose work it names, and its name proves what it holds. `saved` is told how much work is finished with each. Those
    of the jobs `before` it, which it goes on from, are found, too.
    """

    def __init__(self, store: ObjectStore, job_id: str, saved: Callable[[int], None],
                 before: Sequence[str] = ()) -> None:  # fmt: skip
        self.store, self._saved = store, saved
        # goes with the checkpoints once the job has succeeded
        self.prefix = _folder(job_id)
        self._folders = [self.prefix, *map(_folder, before)]

    def names(self) -> list[str]:
        """Names of the parts of all attempts."""
        found = (
            key.removeprefix(f"{folder}/") for folder in self._folders for key in self.store.list_keys(f"{folder}/")
        )
        return list(dict.fromkeys(found))

    def put(self, path: Path, done: int) -> None:
        """Store a file under its name."""
        with tracing.span("part", done=done):
            self.store.put_file(f"{self.prefix}/{path.name}", path)
        self._saved(done)

    def get(self, name: str, folder: Path) -> Path | None:
        """Fetch a part, as its name says by its SHA-256; None when it is gone or damaged."""
        for where in self._folders:
            size = self.store.size(f"{where}/{name}")
            if size is None:
                continue
            entry = FileEntry(path=name, size=size, sha256=Path(name).stem.rsplit("-", 1)[-1])
            try:
                self.store.download(where, [entry], folder)
            except DamagedFile:
                continue
            return folder / name
        return None


def _folder(job_id: str) -> str:
    return f"jobs/{job_id}/checkpoints/parts"
