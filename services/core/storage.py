"""The object store, through the S3 API alone."""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path, PurePosixPath

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from medcoss.run import Stopped, sha256_file
from medcoss.specs.records import FileEntry
from services.core import tracing
from services.core.multipart import Multipart
from services.core.s3pool import S3Pool
from services.core.settings import Settings

PARALLEL = 4
PROBE_S = 3
# what one request lists or removes
PAGE = 1000
MISSING = frozenset({"NoSuchKey", "NoSuchObject"})


class DamagedFile(Exception):
    """A stored object is not what its record says."""


def place_of(entry: FileEntry, folder: Path) -> Path:
    """Where a file of a record belongs below `folder`, whose folder is made; DamagedFile when that is outside."""
    relative = PurePosixPath(entry.path)
    if relative.is_absolute() or ".." in relative.parts:
        raise DamagedFile(f"{entry.path}: not a path inside its folder")
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


@dataclass(frozen=True)
class StoredObject:
    """What a listing tells of an object; `size` in bytes."""

    key: str
    size: int
    modified: datetime


class ObjectStore:
    """Objects of one bucket; keys are paths with forward slashes."""

    def __init__(self, settings: Settings, retries: int = 5) -> None:
        """`retries` of a request while the store is away: each waits twice as long as the one before, from 0.4 s."""
        self.bucket = settings.s3_bucket
        patient = S3Pool(
            timeout=urllib3.Timeout(connect=10, read=300),
            maxsize=16,
            retries=urllib3.Retry(total=retries, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        probe = S3Pool(timeout=urllib3.Timeout(total=PROBE_S), retries=False)
        self._client = self._connect(settings, settings.s3_endpoint, patient)
        self._probe = self._connect(settings, settings.s3_endpoint, probe)
        public = settings.s3_public_endpoint
        # presigned URLs carry the host that they were signed for
        secure = settings.s3_secure if settings.s3_public_secure is None else settings.s3_public_secure
        self._public = self._connect(settings, public, patient, secure) if public else self._client
        self.multipart = Multipart(
            self._client, self._public, self.bucket, settings.s3_secret_key.get_secret_value()
        )  # fmt: skip

    @staticmethod
    def _connect(settings: Settings, endpoint: str, pool: urllib3.PoolManager, secure: bool | None = None) -> Minio:
        return Minio(
            endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure if secure is None else secure,
            region=settings.s3_region,
            http_client=pool,
        )

    def ensure_bucket(self) -> None:
        """Create the bucket if it is not there."""
        try:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)
        except S3Error as error:
            # another process was faster
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    def healthy(self) -> bool:
        """True when the bucket answers, False when it is missing; an error within moments when nothing answers."""
        return self._probe.bucket_exists(self.bucket)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Store a file."""
        self._client.fput_object(self.bucket, key, str(path), content_type=content_type)

    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Store bytes."""
        self._client.put_object(self.bucket, key, io.BytesIO(data), len(data), content_type=content_type)

    def get_bytes(self, key: str) -> bytes:
        """The content of an object. Raises FileNotFoundError when there is none."""
        return b"".join(self.read(key))

    def read(self, key: str) -> Iterator[bytes]:
        """The content of an object, piece by piece. Raises FileNotFoundError when there is none."""
        try:
            response = self._client.get_object(self.bucket, key)
        except S3Error as error:
            raise self._missing(error, key) from error
        try:
            yield from response.stream(1 << 20)
        finally:
            response.close()
            response.release_conn()

    @staticmethod
    def _missing(error: S3Error, key: str) -> Exception:
        return FileNotFoundError(key) if error.code in MISSING else error

    def upload_dir(self, prefix: str, folder: Path) -> list[FileEntry]:
        """Store every file below `folder` under `prefix`; returns their records."""
        paths = sorted(p for p in folder.rglob("*") if p.is_file())

        def one(path: Path) -> FileEntry:
            name = path.relative_to(folder).as_posix()
            entry = FileEntry(path=name, size=path.stat().st_size, sha256=sha256_file(path))
            self.put_file(f"{prefix}/{name}", path)
            return entry

        with tracing.span("upload", prefix=prefix, files=len(paths)), ThreadPoolExecutor(PARALLEL) as pool:
            # each in a copy of the caller's context: what it does belongs to the same trace
            waiting = [pool.submit(copy_context().run, one, path) for path in paths]
            return [future.result() for future in waiting]

    def download(
        self, prefix: str, files: list[FileEntry], folder: Path, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Fetch `files` of `prefix` into `folder`, each verified.

        Raises DamagedFile naming what is wrong, Stopped when `should_stop` says so.
        """

        def one(entry: FileEntry) -> None:
            self._fetch(f"{prefix}/{entry.path}", entry, place_of(entry, folder), should_stop)

        with ThreadPoolExecutor(PARALLEL) as pool:
            waiting = [pool.submit(copy_context().run, one, entry) for entry in files]
            try:
                for future in waiting:
                    future.result()
            except BaseException:
                # the rest is of no use any more
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, key: str, entry: FileEntry, target: Path, should_stop: Callable[[], bool]) -> None:
        try:
            response = self._client.get_object(self.bucket, key)
        except S3Error as error:
            if error.code in MISSING:
                raise DamagedFile(f"{entry.path}: the stored file is missing") from error
            raise
        digest = hashlib.sha256()
        try:
            with target.open("wb") as out:
                for chunk in response.stream(1 << 20):
                    if should_stop():
                        raise Stopped
                    digest.update(chunk)
                    out.write(chunk)
        finally:
            response.close()
            response.release_conn()
        size = target.stat().st_size
        if size != entry.size:
            raise DamagedFile(f"{entry.path}: the stored file has {size} bytes, recorded are {entry.size}")
        if digest.hexdigest() != entry.sha256:
            raise DamagedFile(
                f"{entry.path}: the stored file has other content than was recorded (its SHA-256 differs)"
            )

    def list_keys(self, prefix: str) -> list[str]:
        """Keys of all objects whose key starts with `prefix`."""
        return list(self._keys(prefix))

    def _keys(self, prefix: str) -> Iterator[str]:
        return (str(o.object_name) for o in self._client.list_objects(self.bucket, prefix, recursive=True))

    def pages(self, prefix: str = "") -> Iterator[list[StoredObject]]:
        """All objects whose key starts with `prefix`, in pages of up to PAGE. Servers differ in the order; what lies
        below one folder comes together.
        """
        found = self._client.list_objects(self.bucket, prefix, recursive=True)
        listed = (StoredObject(str(o.object_name), int(o.size or 0), o.last_modified) for o in found)
        while page := list(islice(listed, PAGE)):
            yield page

    def size(self, key: str) -> int | None:
        """Size in bytes of an object, or None when there is none."""
        found = self.size_and_etag(key)
        return found[0] if found else None

    def size_and_etag(self, key: str) -> tuple[int, str] | None:
        """Size in bytes and ETag of an object, or None when there is none."""
        try:
            found = self._client.stat_object(self.bucket, key)
        except S3Error as error:
            if error.code in MISSING:
                return None
            raise
        return int(found.size or 0), str(found.etag)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Size in bytes of every object below `prefix`, by key."""
        found = self._client.list_objects(self.bucket, prefix, recursive=True)
        return {str(o.object_name): int(o.size or 0) for o in found}

    def remove_prefix(self, prefix: str) -> None:
        """Remove every object whose key starts with `prefix`, which has to end in a slash."""
        while not self.remove_some(prefix, 1000):
            continue

    def remove_some(self, prefix: str, limit: int, kept: frozenset[str] = frozenset()) -> bool:
        """Remove up to `limit` objects below `prefix`, which ends in a slash, but for those `kept`; True when no
        other is left.
        """
        if not prefix.endswith("/"):
            raise ValueError(f"prefix '{prefix}' does not end in a slash")
        keys = list(islice((key for key in self._keys(prefix) if key not in kept), limit + 1))
        self.remove(keys[:limit])
        return len(keys) <= limit

    def remove(self, keys: Iterable[str]) -> None:
        """Remove these objects; one that is not there is no error."""
        failed = list(self._client.remove_objects(self.bucket, [DeleteObject(key) for key in keys]))
        if failed:
            raise OSError(f"{failed[0].name} could not be removed: {failed[0].code}")

    def presign_put(self, key: str, expires_s: int) -> str:
        """A URL to which anyone may PUT this one object until it expires."""
        return self._public.presigned_put_object(self.bucket, key, timedelta(seconds=expires_s))

    def presign_get(self, key: str, expires_s: int) -> str:
        """A URL from which anyone may GET this one object until it expires."""
        return self._public.presigned_get_object(self.bucket, key, timedelta(seconds=expires_s))
