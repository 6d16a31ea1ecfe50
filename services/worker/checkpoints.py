"""Checkpoints of a job in the object store."""

import json
import re
from pathlib import Path

from medcoss.specs.records import FileEntry
from services.core.storage import DamagedFile, ObjectStore

KEPT = 2
_FOLDER = re.compile(r"/(\d{9})\.(\d{6})/manifest\.json$")


class S3Checkpoints:
    """`jobs/<id>/checkpoints/<step>.<fence>/`, the manifest written last.

    The newest is the one of the highest fence, then step: an attempt that lost its lease
    writes under an older fence and cannot come before its successor's.
    """

    def __init__(self, store: ObjectStore, job_id: str, fence: int) -> None:
        self.store, self.fence = store, fence
        self.prefix = f"jobs/{job_id}/checkpoints"

    def save(self, step: int, directory: Path) -> None:
        """Store the files of `directory` as the checkpoint of `step`, then drop all but the newest two."""
        prefix = f"{self.prefix}/{step:09d}.{self.fence:06d}"
        files = self.store.upload_dir(prefix, directory)
        manifest = {"step": step, "fence": self.fence, "files": [f.model_dump() for f in files]}
        self.store.put_bytes(f"{prefix}/manifest.json", json.dumps(manifest).encode(), "application/json")
        for old in self._manifests()[KEPT:]:
            self.store.remove_prefix(old.removesuffix("manifest.json"))

    def latest(self, directory: Path) -> int | None:
        """Fetch the newest whole checkpoint into `directory`; its step, or None."""
        for key in self._manifests():
            manifest = json.loads(self.store.get_bytes(key))
            files = [FileEntry.model_validate(f) for f in manifest["files"]]
            try:
                self.store.download(key.removesuffix("/manifest.json"), files, directory)
            except DamagedFile:
                continue
            return int(manifest["step"])
        return None

    def _manifests(self) -> list[str]:
        found = []
        for key in self.store.list_keys(f"{self.prefix}/"):
            match = _FOLDER.search(key)
            if match and int(match[2]) <= self.fence:
                found.append((int(match[2]), int(match[1]), key))
        return [key for _, _, key in sorted(found, reverse=True)]
