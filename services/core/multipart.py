"""Large objects in parts, through the S3 API: begun, sent by presigned URLs, put together or given up."""

import base64
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from minio import Minio
from minio.datatypes import Part, Upload
from minio.error import S3Error

# of S3: every part but the last has at least so much, and none has more
LEAST_PART, MOST_PART, MOST_PARTS = 5 * 2**20, 5 * 2**30, 10_000
USUAL_PART = 16 * 2**20
_MIB = 2**20
_PAGE = 1000
_GONE = frozenset({"NoSuchUpload", "NoSuchKey"})
# the parts are not what is asked for
_WRONG = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})


class PartsGone(Exception):
    """The object store knows nothing of these parts: they were put together, given up, or lost."""


class PartsWrong(Exception):
    """The object store will not put these parts together."""


@dataclass(frozen=True)
class Plan:
    """How a file of `size` bytes is cut."""

    size: int
    part_bytes: int

    @property
    def count(self) -> int:
        """The number of parts; an empty file is one empty part."""
        return max(1, -(-self.size // self.part_bytes))

    def size_of(self, number: int) -> int:
        """Bytes of the part `number`, which counts from 1."""
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)


@dataclass(frozen=True)
class StoredPart:
    """A part that has arrived: its number, size in bytes and hexadecimal MD5."""

    number: int
    size: int
    md5: str


@dataclass(frozen=True)
class SignedPart:
    """Where one part goes, and the headers without which the store refuses it."""

    url: str
    headers: dict[str, str]


@dataclass(frozen=True)
class UnfinishedUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    upload_id: str
    started: datetime


def _moment(upload: Upload) -> datetime:
    # a server that tells no time has it look young
    return upload.initiated_time or datetime.now(UTC)


def usual_part_bytes(size: int) -> int:
    """A size of parts that suits a file of `size` bytes, in whole MiB."""
    return max(USUAL_PART, -(-size // (MOST_PARTS * _MIB)) * _MIB)


def whole_etag(md5s: Sequence[str]) -> str:
    """What S3 calls an object that was put together from parts with these MD5s."""
    digest = hashlib.md5(b"".join(map(bytes.fromhex, md5s)), usedforsecurity=False).hexdigest()
    return f"{digest}-{len(md5s)}"


def bind(url: str, method: str, headers: dict[str, str], secret_key: str) -> str:
    """The presigned `url` (Signature Version 4) signed anew: good only for requests that carry `headers`, too."""
    parts = urlsplit(url)
    pairs = [pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature=")]
    signed = {name.lower(): value for name, value in headers.items()} | {"host": parts.netloc}
    names = sorted(signed)
    # ; is %3B in a query
    pairs = ["X-Amz-SignedHeaders=" + "%3B".join(names) if p.startswith("X-Amz-SignedHeaders=") else p for p in pairs]
    # an empty value may be written without its sign
    pairs = sorted(pair if "=" in pair else f"{pair}=" for pair in pairs)
    query = "&".join(pairs)
    canonical = "\n".join(
        [method, parts.path or "/", query, *(f"{name}:{signed[name].strip()}" for name in names), "",
         ";".join(names), "UNSIGNED-PAYLOAD"]
    )  # fmt: skip
    given = dict(parse_qsl(parts.query))
    scope = given["X-Amz-Credential"].split("/", 1)[1]
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join([given["X-Amz-Algorithm"], given["X-Amz-Date"], scope, digest])
    key = f"AWS4{secret_key}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return f"{parts.scheme}://{parts.netloc}{parts.path}?{query}&X-Amz-Signature={signature}"


class Multipart:
    """Multipart uploads to one bucket. `public` makes the URLs, which carry the address that it was made for.

    minio-py has no public calls for multipart uploads; its own are used.
    """

    def __init__(self, client: Minio, public: Minio, bucket: str, secret_key: str) -> None:
        self._client, self._public, self._bucket, self._secret_key = client, public, bucket, secret_key

    def begin(self, key: str) -> str:
        """Make ready for the parts of an object; the store's name for it."""
        return str(self._client._create_multipart_upload(self._bucket, key, {}))

    def presign(self, key: str, s3_id: str, number: int, size: int, md5: str, expires_s: int) -> SignedPart:
        """A URL that takes this one part, with this size and content only, until it expires."""
        headers = {
            "Content-Length": str(size),
            "Content-MD5": base64.b64encode(bytes.fromhex(md5)).decode(),
        }
        query: dict[str, str | list[str] | tuple[str]] = {"partNumber": str(number), "uploadId": s3_id}
        url = self._public.get_presigned_url(
            "PUT", self._bucket, key, timedelta(seconds=expires_s), extra_query_params=query
        )
        return SignedPart(bind(url, "PUT", headers, self._secret_key), headers)

    def page(self, key: str, s3_id: str, after: int = 0, limit: int = _PAGE) -> tuple[list[StoredPart], bool]:
        """Up to `limit` parts with numbers above `after`, and whether there are more. Raises PartsGone.

        Some stores list a part that was sent again as often as it came.
        """
        try:
            found = self._client._list_parts(
                self._bucket, key, s3_id, max_parts=limit, part_number_marker=str(after) if after else None
            )
        except S3Error as error:
            raise self._told(error) from error
        return [StoredPart(p.part_number, p.size or 0, p.etag) for p in found.parts], bool(found.is_truncated)

    def parts(self, key: str, s3_id: str) -> set[StoredPart]:
        """All parts that have arrived. Raises PartsGone."""
        found: set[StoredPart] = set()
        after, more = 0, True
        while more:
            page, more = self.page(key, s3_id, after)
            found |= set(page)
            # a part that came several times may be cut by the end of a page: its number is asked for again
            last = max((part.number for part in page), default=0)
            after, more = max(last - 1, after + 1), more and bool(page)
        return found

    def put_together(self, key: str, s3_id: str, md5s: Sequence[str]) -> None:
        """Make the object of its parts, which have these MD5s in order. Raises PartsGone, PartsWrong."""
        parts = [Part(number, md5) for number, md5 in enumerate(md5s, start=1)]
        try:
            self._client._complete_multipart_upload(self._bucket, key, s3_id, parts)
        except S3Error as error:
            if error.code in _WRONG:
                raise PartsWrong(str(error.message)) from error
            raise self._told(error) from error

    def unfinished(self, prefix: str = "") -> Iterator[list[UnfinishedUpload]]:
        """Multipart uploads below `prefix` that were neither completed nor aborted, in pages."""
        key_after: str | None = None
        upload_after: str | None = None
        while True:
            found = self._client._list_multipart_uploads(
                self._bucket, prefix=prefix, max_uploads=_PAGE, key_marker=key_after, upload_id_marker=upload_after
            )
            if found.uploads:
                yield [UnfinishedUpload(u.object_name, str(u.upload_id), _moment(u)) for u in found.uploads]
            if not found.is_truncated or not found.uploads:
                return
            key_after, upload_after = found.next_key_marker, found.next_upload_id_marker
            if upload_after is None:
                # SeaweedFS names no marker, and goes on after the upload alone
                upload_after = found.uploads[-1].upload_id

    def abort(self, key: str, s3_id: str) -> None:
        """Remove the parts of a multipart upload; one that is over is no error."""
        try:
            self._client._abort_multipart_upload(self._bucket, key, s3_id)
        except S3Error as error:
            if error.code not in _GONE:
                raise

    @staticmethod
    def _told(error: S3Error) -> Exception:
        return PartsGone(str(error.message)) if error.code in _GONE else error
