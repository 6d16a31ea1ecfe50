"""Files of datasets that arrive in parts."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.core.tables.base import Base, Id, now, path_type

# states of what is on its way
LIVE = ("open", "completing")
_LIVE = text("state IN ('open', 'completing')")


class UploadSession(Base):
    """A file that is on its way in parts of `part_bytes`, the last one smaller; `key` is where it goes.

    `state` is open, completing (its parts are being put together, since `claimed_at`), completed or aborted. `s3_id`
    is the object store's name for it, null until the store has been asked. `etag` is what the store will call the
    whole file. `dataset_id` is no foreign key: the row outlives its dataset until the store has forgotten the parts.
    """

    __tablename__ = "upload_sessions"
    __table_args__ = (
        # one at a time for a file
        Index("ix_upload_sessions_live", "dataset_id", "path", unique=True, postgresql_where=_LIVE, sqlite_where=_LIVE),
        Index("ix_upload_sessions_dataset", "dataset_id", "id"),
        # lists
        Index("ix_upload_sessions_by_created_at", "dataset_id", "state", "created_at", "id"),
        Index("ix_upload_sessions_by_path", "dataset_id", "state", "path", "id"),
        Index("ix_upload_sessions_state", "state", "expires_at"),
        Index("ix_upload_sessions_key", "key"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    dataset_id: Mapped[str] = mapped_column(Id)
    path: Mapped[str] = mapped_column(path_type(1024))
    key: Mapped[str] = mapped_column(String(1024))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str | None] = mapped_column(String(64))
    part_bytes: Mapped[int] = mapped_column(BigInteger)
    s3_id: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), default="open")
    etag: Mapped[str | None] = mapped_column(String(64))
    claimed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
