"""Files of a folder to the object store."""

import base64
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


@dataclass(frozen=True)
class Slice:
    """`size` bytes of a file from `start` on."""

    file: LocalFile
    start: int
    size: int


def whole(file: LocalFile) -> Slice:
    """All of a file."""
    return Slice(file, 0, file.size)


def hash_files(files: list[LocalFile], notify: Notify | None, threads: int) -> list[str]:
    """Hexadecimal SHA-256 of each file."""
    stop = threading.Event()
    tracker = Tracker("hashing", [(f.path, f.size) for f in files], notify, stop)
    tasks: list[Callable[[], str]] = [partial(_hash, f, tracker) for f in files]
    return side_by_side(tasks, threads, stop)


def _hash(file: LocalFile, tracker: Tracker) -> str:
    digest = hashlib.sha256()
    for chunk in Counted(whole(file), tracker):
        digest.update(chunk)
    return digest.hexdigest()


def read(piece: Slice) -> Iterator[bytes]:
    """A slice in chunks. Raises FileChanged when its file is no longer the one that was found."""
    file, left = piece.file, piece.size
    with file.source.open("rb") as handle:
        handle.seek(piece.start)
        while left and (chunk := handle.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk
        stat = os.fstat(handle.fileno())
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.changed_ns):
        raise FileChanged(f"{file.path} changed while it was uploaded; upload the folder again when it is at rest")


def md5_of(piece: Slice) -> str:
    """Hexadecimal MD5 of a slice. Raises FileChanged."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in read(piece):
        digest.update(chunk)
    return digest.hexdigest()


class Counted:
    """The chunks of a slice, and how many bytes of it were given away."""

    def __init__(self, piece: Slice, tracker: Tracker) -> None:
        self.piece, self._tracker = piece, tracker
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in read(self.piece):
            self._tracker.add(len(chunk), self.piece.file.path)
            self.count += len(chunk)
            yield chunk

    def take_back(self) -> None:
        """What was given away has not arrived."""
        self._tracker.add(-self.count, self.piece.file.path)


def send_whole(connections: Connections, file: LocalFile, upload: Upload, tracker: Tracker) -> None:
    """PUT a file to its URL. Raises TransferFailed, FileChanged."""
    md5 = bytes.fromhex(md5_of(whole(file)))
    # the store refuses what has changed on the way
    headers = {"Content-MD5": base64.b64encode(md5).decode()} | upload.headers

    def attempt() -> None:
        put(connections, Counted(whole(file), tracker), upload.method, str(upload.url), headers)

    persistently(file.path, attempt, tracker)


def put(connections: Connections, content: Counted, method: str, url: str, headers: dict[str, str]) -> None:
    """Send a slice to a URL once. Raises httpx.HTTPError, FileChanged."""
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    # a known length: S3 takes no chunked bodies
    headers = headers | {"Content-Length": str(content.piece.size)}
    try:
        connections.to(url).request(method, url, content=content, headers=headers, timeout=timeout).raise_for_status()
    except httpx.LocalProtocolError as error:
        path = content.piece.file.path
        raise FileChanged(f"{path} changed while it was uploaded; upload the folder again") from error
    except httpx.HTTPError:
        content.take_back()
        raise
