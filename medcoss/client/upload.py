"""Files of a folder to the object store."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from medcoss.client.errors import ApiError, FieldProblem, FileChanged
from medcoss.client.records import Upload
from medcoss.client.transfer import CHUNK, READ_TIMEOUT_S, Notify, Tracker, persistently, side_by_side
from medcoss.client.transport import CONNECT_TIMEOUT_S, Connections


@dataclass(frozen=True)
class LocalFile:
    """A file to upload: where it is, its path inside the dataset, size in bytes and time of change (ns)."""

    source: Path
    path: str
    size: int
    changed_ns: int


def local_files(path: Path) -> list[LocalFile]:
    """The files of a folder, or the one file; hidden ones are left out, links are followed.

    Raises ValueError when there is none or a name cannot be sent, FileNotFoundError for a path to nothing.
    """
    if path.is_file():
        found = [(path, path.name)]
    elif path.is_dir():
        found = [(p, p.relative_to(path).as_posix()) for p in sorted(_walk(path))]
    else:
        raise FileNotFoundError(f"{path} does not exist; expected a folder or a file")
    if not found:
        raise ValueError(f"{path} is empty; expected at least one file that is not hidden")
    return [_local_file(source, name) for source, name in found]


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        # a link to a folder above would never end
        seen.add(os.path.realpath(folder))
        folders[:] = [
            d for d in folders if not d.startswith(".") and os.path.realpath(Path(folder, d)) not in seen
        ]  # fmt: skip
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _local_file(source: Path, name: str) -> LocalFile:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name!r}: the file name is not UTF-8; rename it") from None
    stat = source.stat()
    return LocalFile(source, name, stat.st_size, stat.st_mtime_ns)


def check_limits(files: list[LocalFile], limits: dict[str, int]) -> None:
    """Raise the ApiError (413) with which the server would refuse, before anything is read."""
    limit = limits.get("max_file_bytes")
    large = [(i, f) for i, f in enumerate(files) if limit is not None and f.size > limit]
    if large and limit is not None:
        errors = [FieldProblem(f"/files/{i}/size", f"{f.path} has {_mib(f.size)}") for i, f in large]
        first = large[0][1]
        detail = (
            f"{first.path} has {_mib(first.size)}; the limit for a file is {_mib(limit)}. Split it, or raise the limit"
        )
        raise ApiError(413, "Too large", detail, errors)
    total, limit = sum(f.size for f in files), limits.get("max_dataset_bytes")
    if limit is not None and total > limit:
        detail = f"the files have {_mib(total)} together; the limit for a dataset is {_mib(limit)}"
        raise ApiError(413, "Too large", detail, [FieldProblem("/files", "too large together")])


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size:,} bytes"


def hash_files(files: list[LocalFile], notify: Notify | None, threads: int) -> list[str]:
    """Hexadecimal SHA-256 of each file."""
    stop = threading.Event()
    tracker = Tracker("hashing", sum(f.size for f in files), notify, stop)
    tasks: list[Callable[[], str]] = [partial(_hash, f, tracker) for f in files]
    return side_by_side(tasks, threads, stop)


def _hash(file: LocalFile, tracker: Tracker) -> str:
    digest = hashlib.sha256()
    for chunk in _read(file, tracker):
        digest.update(chunk)
    return digest.hexdigest()


def _read(file: LocalFile, tracker: Tracker) -> Iterator[bytes]:
    """The file in chunks. Raises FileChanged when it is no longer the file that was found."""
    with file.source.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            tracker.add(len(chunk), file.path)
            yield chunk
        stat = os.fstat(handle.fileno())
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.changed_ns):
        raise FileChanged(f"{file.path} changed while it was uploaded; upload the folder again when it is at rest")


def send_files(
    connections: Connections, files: list[LocalFile], uploads: list[Upload], notify: Notify | None, threads: int
) -> None:
    """PUT every file to its URL. Raises TransferFailed naming the first that could not be sent."""
    targets = {upload.path: upload for upload in uploads}
    stop = threading.Event()
    tracker = Tracker("uploading", sum(f.size for f in files), notify, stop)
    tasks: list[Callable[[], None]] = [partial(_send, connections, f, targets[f.path], tracker) for f in files]
    side_by_side(tasks, threads, stop)


def _send(connections: Connections, file: LocalFile, upload: Upload, tracker: Tracker) -> None:
    persistently(file.path, partial(_put, connections, file, upload, tracker), tracker)


class _Counted:
    """The chunks of a file, and how many bytes of it were given away."""

    def __init__(self, file: LocalFile, tracker: Tracker) -> None:
        self._file, self._tracker = file, tracker
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in _read(self._file, self._tracker):
            self.count += len(chunk)
            yield chunk


def _put(connections: Connections, file: LocalFile, upload: Upload, tracker: Tracker) -> None:
    content = _Counted(file, tracker)
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    # a known length: S3 takes no chunked bodies
    headers = upload.headers | {"Content-Length": str(file.size)}
    try:
        connections.to(upload.url).request(
            upload.method, upload.url, content=content, headers=headers, timeout=timeout
        ).raise_for_status()
    except httpx.LocalProtocolError as error:
        raise FileChanged(f"{file.path} changed while it was uploaded; upload the folder again") from error
    except httpx.HTTPError:
        tracker.add(-content.count, file.path)
        raise
