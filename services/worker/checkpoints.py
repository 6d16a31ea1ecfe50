"""Checkpoints of a job in the object store."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from services.core import tracing
from services.core.checkpoints import MANIFEST, Manifest, folder_of, folders, prefix_of
from services.core.storage import DamagedFile, ObjectStore

KEPT = 2


class S3Checkpoints:
    """`jobs/<id>/checkpoints/<step>.<fence>/`, the manifest written last.

    The newest is the one of the highest fence, then step: an attempt that lost its lease
    writes under an older fence and cannot come before its successor's. `saved` is told the step of each whole one.
    While the job has none, those of the jobs `before` it are its own, the newest job's first; they stay as they are.
    """

    def __init__(self, store: ObjectStore, job_id: str, fence: int, saved: Callable[[int], None] | None = None,
                 before: Sequence[str] = ()) -> None:  # fmt: skip
        self.store, self.fence, self._saved, self._before = store, fence, saved, before
        self.job_id, self.prefix = job_id, prefix_of(job_id)

    def save(self, step: int, directory: Path) -> None:
        """Store the files of `directory` as the checkpoint of `step`, then drop all but the newest two."""
        prefix = folder_of(self.job_id, step, self.fence)
        with tracing.span("checkpoint", step=step):
            files = self.store.upload_dir(prefix, directory)
            manifest = Manifest(step=step, fence=self.fence, files=files)
            self.store.put_bytes(f"{prefix}/{MANIFEST}", manifest.model_dump_json().encode(), "application/json")
            if self._saved is not None:
                self._saved(step)
            self._drop_old()

    def latest(self, directory: Path) -> int | None:
        """Fetch the newest whole checkpoint into `directory`; its step, or None."""
        for folder, whole in self._to_go_on_from():
            manifest = self._read(folder) if whole else None
            if manifest is None:
                continue
            try:
                self.store.download(folder.rstrip("/"), manifest.files, directory)
            except DamagedFile:
                shutil.rmtree(directory)
                directory.mkdir()
                continue
            return manifest.step
        return None

    def _to_go_on_from(self) -> Iterator[tuple[str, bool]]:
        yield from self._folders()
        for job_id in self._before:
            yield from folders(self.store.list_keys(f"{prefix_of(job_id)}/"))

    def _read(self, folder: str) -> Manifest | None:
        """The manifest of a checkpoint; None when it is damaged or has just been dropped."""
        try:
            return Manifest.model_validate_json(self.store.get_bytes(folder + MANIFEST))
        except (FileNotFoundError, ValidationError):
            return None

    def _drop_old(self) -> None:
        """Remove all but the newest two, and what killed attempts have left unfinished."""
        folders = self._folders()
        kept = [folder for folder, whole in folders if whole][:KEPT]
        for folder, _ in folders:
            if folder not in kept:
                self.store.remove_prefix(folder)

    def _folders(self) -> list[tuple[str, bool]]:
        """Checkpoints of this and earlier attempts, newest first, and whether each has its manifest."""
        return folders(self.store.list_keys(f"{self.prefix}/"), self.fence)
