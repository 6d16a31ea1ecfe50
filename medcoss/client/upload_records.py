"""What the server tells of files that arrive in parts, typed. Sizes in bytes."""

from datetime import datetime

from medcoss.client.records import Record


class UploadSession(Record):
    """A file that arrives in `part_count` parts of `part_bytes`, the last one smaller; `state` is open, completing or
    completed.
    """

    id: str
    dataset_id: str
    path: str
    size: int
    sha256: str | None = None
    part_bytes: int
    part_count: int
    state: str
    created_at: datetime
    expires_at: datetime


class PartUrl(Record):
    """Where one part goes; the object store refuses another size or another content."""

    number: int
    size: int
    method: str = "PUT"
    url: str
    headers: dict[str, str]


class StoredPart(Record):
    """A part that has arrived; `md5` is hexadecimal."""

    number: int
    size: int
    md5: str
