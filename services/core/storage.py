"""The object store, through the S3 API alone."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path, PurePosixPath

import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

from medcoss.run import sha256_file
from medcoss.specs.records import FileEntry
from services.core.settings import Settings

PARALLEL = 4


class DamagedFile(Exception):
    """A stored object is not what its record says."""


class ObjectStore:
    """Objects of one bucket; keys are paths with forward slashes."""

    def __init__(self, settings: Settings) -> None:
        self.bucket = settings.s3_bucket
        self._client = self._connect(settings, settings.s3_endpoint)
        public = settings.s3_public_endpoint
        # presigned URLs carry the host that they were signed for
        self._public = self._connect(settings, public) if public else self._client

    @staticmethod
    def _connect(settings: Settings, endpoint: str) -> Minio:
        pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10, read=300),
            maxsize=16,
            retries=urllib3.Retry(total=5, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        )
        return Minio(
            endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
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
        """True when the bucket answers."""
        return self._client.bucket_exists(self.bucket)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Store a file."""
        self._client.fput_object(self.bucket, key, str(path), content_type=content_type)

    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Store bytes."""
        self._client.put_object(self.bucket, key, io.BytesIO(data), len(data), content_type=content_type)

    def get_bytes(self, key: str) -> bytes:
        """The content of an object. Raises FileNotFoundError when there is none."""
        try:
            response = self._client.get_object(self.bucket, key)
        except S3Error as error:
            raise self._missing(error, key) from error
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()

    @staticmethod
    def _missing(error: S3Error, key: str) -> Exception:
        return FileNotFoundError(key) if error.code in {"NoSuchKey", "NoSuchObject"} else error

    def upload_dir(self, prefix: str, folder: Path) -> list[FileEntry]:
        """Store every file below `folder` under `prefix`; returns their records."""
        paths = sorted(p for p in folder.rglob("*") if p.is_file())

        def one(path: Path) -> FileEntry:
            name = path.relative_to(folder).as_posix()
            entry = FileEntry(path=name, size=path.stat().st_size, sha256=sha256_file(path))
            self.put_file(f"{prefix}/{name}", path)
            return entry

        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(one, paths))

    def download(self, prefix: str, files: list[FileEntry], folder: Path) -> None:
        """Fetch `files` of `prefix` into `folder`, each verified. Raises DamagedFile naming what is wrong."""

        def one(entry: FileEntry) -> None:
            relative = PurePosixPath(entry.path)
            if relative.is_absolute() or ".." in relative.parts:
                raise DamagedFile(f"{entry.path}: not a path inside its folder")
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch(f"{prefix}/{entry.path}", entry, target)

        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(one, files))

    def _fetch(self, key: str, entry: FileEntry, target: Path) -> None:
        try:
            response = self._client.get_object(self.bucket, key)
        except S3Error as error:
            if error.code in {"NoSuchKey", "NoSuchObject"}:
                raise DamagedFile(f"{entry.path}: the stored file is missing") from error
            raise
        digest = hashlib.sha256()
        try:
            with target.open("wb") as out:
                for chunk in response.stream(1 << 20):
                    digest.update(chunk)
                    out.write(chunk)
        finally:
            response.close()
            response.release_conn()
        size = target.stat().st_size
        if size != entry.size or digest.hexdigest() != entry.sha256:
            raise DamagedFile(
                f"{entry.path}: the stored file is not the recorded one ({size} bytes, expected {entry.size}, or other "
                "content); upload it again"
            )

    def list_keys(self, prefix: str) -> list[str]:
        """Keys of all objects whose key starts with `prefix`."""
        return [str(o.object_name) for o in self._client.list_objects(self.bucket, prefix, recursive=True)]

    def size(self, key: str) -> int | None:
        """Size in bytes of an object, or None when there is none."""
        try:
            return self._client.stat_object(self.bucket, key).size
        except S3Error as error:
            if error.code in {"NoSuchKey", "NoSuchObject"}:
                return None
            raise

    def sizes(self, prefix: str) -> dict[str, int]:
        """Size in bytes of every object below `prefix`, by key."""
        found = self._client.list_objects(self.bucket, prefix, recursive=True)
        return {str(o.object_name): int(o.size or 0) for o in found}

    def remove_prefix(self, prefix: str) -> None:
        """Remove every object whose key starts with `prefix`, which has to end in a slash."""
        if not prefix.endswith("/"):
            raise ValueError(f"prefix '{prefix}' does not end in a slash")
        doomed = [DeleteObject(key) for key in self.list_keys(prefix)]
        for error in self._client.remove_objects(self.bucket, doomed):
            raise OSError(f"{error.name} could not be removed: {error.code}")

    def presign_put(self, key: str, expires_s: int) -> str:
        """A URL to which anyone may PUT this one object until it expires."""
        return self._public.presigned_put_object(self.bucket, key, timedelta(seconds=expires_s))

    def presign_get(self, key: str, expires_s: int) -> str:
        """A URL from which anyone may GET this one object until it expires."""
        return self._public.presigned_get_object(self.bucket, key, timedelta(seconds=expires_s))
