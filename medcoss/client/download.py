"""Files from the object store to a folder, each verified."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import httpx

from medcoss.client.errors import DamagedFile
from medcoss.client.transfer import CHUNK, READ_TIMEOUT_S, THREADS, Notify, Tracker, persistently, side_by_side
from medcoss.client.transport import CONNECT_TIMEOUT_S, Connections


@dataclass(frozen=True)
class Wanted:
    """A file to fetch: its path in the folder, size in bytes, SHA-256 where it is known, and where it is."""

    path: str
    size: int
    sha256: str | None
    url: str


def download(
    connections: Connections, files: list[Wanted], folder: Path, notify: Notify | None, threads: int = THREADS
) -> list[Path]:
    """Fetch `files` into `folder` and return their paths; what is there already is not fetched again.

    Raises DamagedFile or TransferFailed naming the file.
    """
    stop = threading.Event()
    tracker = Tracker("downloading", [(f.path, f.size) for f in files], notify, stop)
    folder.mkdir(parents=True, exist_ok=True)
    tasks: list[Callable[[], Path]] = [partial(_fetch, connections, f, _inside(folder, f.path), tracker) for f in files]
    return side_by_side(tasks, threads, stop)


def _inside(folder: Path, path: str) -> Path:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise DamagedFile(f"{path}: not a path inside its folder; it is not fetched")
    return folder / relative


def _fetch(connections: Connections, file: Wanted, target: Path, tracker: Tracker) -> Path:
    if file.sha256 and target.is_file() and target.stat().st_size == file.size and _sha256(target) == file.sha256:
        tracker.there(file.size, file.path)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + ".part")
    try:
        digest, size = persistently(file.path, partial(_stream, connections, file, draft, tracker), tracker)
        if size != file.size or (file.sha256 and digest != file.sha256):
            raise DamagedFile(
                f"{file.path}: the stored file is not the recorded one ({size} bytes, expected {file.size}, or other "
                "content)"
            )
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _stream(connections: Connections, file: Wanted, draft: Path, tracker: Tracker) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    try:
        with connections.to(file.url).stream("GET", file.url, timeout=timeout) as response, draft.open("wb") as out:
            response.raise_for_status()
            for chunk in response.iter_bytes(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                tracker.add(len(chunk), file.path)
    except httpx.HTTPError:
        tracker.add(-size, file.path)
        raise
    return digest.hexdigest(), size
