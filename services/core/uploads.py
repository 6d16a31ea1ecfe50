"""Records of files that arrive in parts. Every change of state is one guarded UPDATE.

The functions take a session and leave the commit to the caller; what is asked of the object store is in
`services.core.assembly`. A file that was announced with its dataset is sent in parts under that announcement; another
one joins the dataset when its parts have been put together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from sqlalchemy import Update, and_, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.core.errors import Conflict, FieldError, InProgress, NotFound, TooLarge, ValidationFailed
from services.core.ids import new_id
from services.core.jobs import changed
from services.core.multipart import MOST_PARTS, Plan, usual_part_bytes
from services.core.scope import Scope
from services.core.tables import Dataset, DatasetFile, UploadSession
from services.core.tables.uploads import LIVE

# a request that puts parts together has surely ended by then
STALE = timedelta(minutes=15)
MOST_FILES = 200_000


@dataclass(frozen=True)
class Wanted:
    """A file that is going to be sent in parts; None is left to the announcement, or to the platform."""

    path: str
    size: int | None = None
    sha256: str | None = None
    part_bytes: int | None = None


@dataclass(frozen=True)
class Limits:
    """The largest file and the largest dataset, in bytes."""

    file_bytes: int
    dataset_bytes: int


def plan_of(row: UploadSession) -> Plan:
    """How its file is cut."""
    return Plan(row.size, row.part_bytes)


def draft(session: Session, scope: Scope, dataset_id: str) -> Dataset:
    """The dataset, locked. NotFound; Conflict when it takes no more files."""
    return _taking_files(scope.get(session, Dataset, dataset_id, with_for_update=True))


def _taking_files(row: Dataset) -> Dataset:
    if row.state != "uploading":
        raise Conflict(f"dataset {row.id} is {row.state} and takes no more files; upload them as another dataset")
    return row


def start(session: Session, scope: Scope, dataset_id: str, wanted: Wanted, limits: Limits,
          until: datetime) -> UploadSession:  # fmt: skip
    """The session of a file that is under way, or a new one; it ends at `until`.

    Conflict when the dataset takes no more files or the file is not the one that was announced, ValidationFailed
    when it cannot be part of the dataset, TooLarge.
    """
    dataset = draft(session, scope, dataset_id)
    here = and_(DatasetFile.dataset_id == dataset_id, DatasetFile.path == wanted.path)
    announced = session.scalars(select(DatasetFile).where(here)).one_or_none()
    alive = select(UploadSession).where(_of_file(dataset_id, wanted.path), UploadSession.state.in_(LIVE))
    row = session.scalars(alive).one_or_none()
    known = row or announced
    if known is not None:
        _check_same(wanted, known.size, known.sha256)
    if row is None:
        size = announced.size if announced else wanted.size
        if size is None:
            raise _wrong("/size", f"{wanted.path} was not announced with the dataset; say how many bytes it has")
        if announced is None:
            _check_place(session, dataset, wanted.path)
            _check_limits(session, dataset, wanted.path, size, limits)
        row = UploadSession(
            id=new_id("upl"), dataset_id=dataset_id, path=wanted.path, key=f"{dataset.prefix}/{wanted.path}", size=size,
            sha256=announced.sha256 if announced else wanted.sha256, part_bytes=_part_bytes(wanted, size),
            expires_at=until,
        )  # fmt: skip
        session.add(row)
    keep_alive(session, row, until)
    session.flush()
    return row


def working(session: Session, scope: Scope, dataset_id: str, upload_id: str, until: datetime) -> UploadSession:
    """The session of who sends parts, which lasts until `until` at least. NotFound; Conflict when it takes no more."""
    dataset = scope.get(session, Dataset, dataset_id, with_for_update=True)
    # what there is not is told first, whatever has become of the dataset
    row = get(session, scope, dataset_id, upload_id)
    _taking_files(dataset)
    if row.state != "open":
        raise Conflict(f"the parts of {row.path} are put together already; the upload is {row.state}")
    keep_alive(session, row, until)
    return row


def keep_alive(session: Session, row: UploadSession, until: datetime) -> None:
    """Somebody is at work: neither the session nor its dataset, which is locked, ends before `until`."""
    row.expires_at = max(row.expires_at, until)
    earlier = update(Dataset).where(Dataset.id == row.dataset_id, Dataset.state == "uploading")
    session.execute(earlier.where(Dataset.expires_at < until).values(expires_at=until))


def get(session: Session, scope: Scope, dataset_id: str, upload_id: str) -> UploadSession:
    """The session, or NotFound, also when it was aborted or has expired."""
    scope.get(session, Dataset, dataset_id)
    row = session.get(UploadSession, upload_id, populate_existing=True)
    if row is None or row.dataset_id != dataset_id or row.state == "aborted":
        raise NotFound(f"there is no upload {upload_id} of dataset {dataset_id}; it was aborted or has expired")
    return row


def live_paths(session: Session, dataset_id: str, limit: int) -> Sequence[tuple[str, str]]:
    """Path and identifier of up to `limit` files that are still on their way."""
    found = select(UploadSession.path, UploadSession.id)
    found = found.where(UploadSession.dataset_id == dataset_id, UploadSession.state.in_(LIVE))
    return [(path, upload_id) for path, upload_id in session.execute(found.order_by(UploadSession.id).limit(limit))]


def note_begun(session: Session, upload_id: str, before: str | None, s3_id: str | None) -> bool:
    """Put the object store's name for an open session in place of `before`; False when another was faster."""
    same = UploadSession.s3_id == before if before else UploadSession.s3_id.is_(None)
    return changed(session, _of(upload_id, "open").where(same).values(s3_id=s3_id)) == 1


def claim(session: Session, row: UploadSession, etag: str, sha256: str | None, moment: datetime) -> str:
    """Take a session whose parts are about to be put together, or join who does the same; its state now.

    Conflict when it is done, or being done, with other parts; NotFound when it was aborted meanwhile.
    """
    values = {"state": "completing", "etag": etag, "sha256": sha256, "claimed_at": moment}
    if changed(session, _of(row.id, "open").values(**values)) == 1:
        return "completing"
    found = session.get(UploadSession, row.id, populate_existing=True, with_for_update=True)
    if found is None or found.state == "aborted":
        raise NotFound(f"the upload {row.id} was aborted or has expired")
    if found.state == "open":
        raise InProgress(f"the parts of {found.path} could not be put together just now; complete it again", 1)
    if found.etag != etag:
        raise Conflict(f"{found.path} was completed with other parts than these")
    if found.state == "completing":
        found.claimed_at = moment
    return found.state


def finish(session: Session, upload_id: str) -> UploadSession | None:
    """The parts are one object now; None when the session was dropped meanwhile. Safe to repeat."""
    row = session.get(UploadSession, upload_id)
    if row is None:
        return None
    dataset = session.get(Dataset, row.dataset_id, with_for_update=True)
    won = changed(session, _of(upload_id, "completing").values(state="completed", claimed_at=None)) == 1
    session.refresh(row)
    if won and dataset is not None and row.sha256 is not None and not _is_announced(session, row):
        session.add(DatasetFile(dataset_id=dataset.id, path=row.path, size=row.size, sha256=row.sha256))
        larger = {"file_count": Dataset.file_count + 1, "total_bytes": Dataset.total_bytes + row.size}
        session.execute(update(Dataset).where(Dataset.id == dataset.id).values(**larger))
    return row if row.state == "completed" else None


def reopen(session: Session, upload_id: str) -> None:
    """The parts could not be put together: they may be sent again."""
    session.execute(_of(upload_id, "completing").values(state="open", etag=None, claimed_at=None))


def abort(session: Session, scope: Scope, dataset_id: str, upload_id: str) -> None:
    """Give a file up; the sweeper drops its parts. Conflict when they are, or are being, put together."""
    row = get(session, scope, dataset_id, upload_id)
    if changed(session, _of(row.id, "open").values(state="aborted")) == 0:
        state = get(session, scope, dataset_id, upload_id).state
        raise Conflict(f"{row.path} is {state}; only an upload that is open can be aborted. Delete the dataset instead")


def end_of_dataset(session: Session, dataset_id: str) -> None:
    """Give up all that is on its way to a dataset that goes."""
    mine = update(UploadSession).where(UploadSession.dataset_id == dataset_id, UploadSession.state != "aborted")
    session.execute(mine.values(state="aborted").execution_options(synchronize_session=False))


def expire(session: Session, moment: datetime) -> None:
    """Give up what nobody has worked at for too long."""
    over = update(UploadSession).where(UploadSession.state == "open", UploadSession.expires_at < moment)
    session.execute(over.values(state="aborted").execution_options(synchronize_session=False))


def stale(session: Session, moment: datetime) -> Sequence[UploadSession]:
    """Sessions whose parts somebody has begun to put together and did not tell how it ended."""
    begun = select(UploadSession).where(UploadSession.state == "completing", UploadSession.claimed_at < moment - STALE)
    return session.scalars(begun).all()


def over(session: Session, moment: datetime) -> Sequence[UploadSession]:
    """Sessions that the object store may forget: aborted ones, and completed ones that nobody asks for any more."""
    done = and_(UploadSession.state == "completed", UploadSession.expires_at < moment)
    return session.scalars(select(UploadSession).where(or_(UploadSession.state == "aborted", done))).all()


def in_use(session: Session, key: str) -> set[str | None]:
    """The object store's names for what is on its way to a key; None for what is just being begun."""
    found = select(UploadSession.s3_id).where(UploadSession.key == key, UploadSession.state.in_(LIVE))
    return set(session.scalars(found))


def forget(session: Session, upload_id: str) -> None:
    """Remove a session that is over."""
    session.execute(delete(UploadSession).where(UploadSession.id == upload_id))


def _of(upload_id: str, state: str) -> Update:
    return update(UploadSession).where(UploadSession.id == upload_id, UploadSession.state == state)


def _of_file(dataset_id: str, path: str) -> ColumnElement[bool]:
    return and_(UploadSession.dataset_id == dataset_id, UploadSession.path == path)


def _is_announced(session: Session, row: UploadSession) -> bool:
    here = exists().where(DatasetFile.dataset_id == row.dataset_id, DatasetFile.path == row.path)
    return bool(session.scalar(select(here)))


def _wrong(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {detail}", [FieldError(pointer, detail)])


def _check_same(wanted: Wanted, size: int, sha256: str | None) -> None:
    if wanted.size is not None and wanted.size != size:
        raise Conflict(
            f"{wanted.path} was announced with {size} bytes, not {wanted.size}",
            [FieldError("/size", f"expected {size}")],
        )
    if wanted.sha256 is not None and sha256 is not None and wanted.sha256 != sha256:
        raise Conflict(
            f"{wanted.path} was announced with another SHA-256", [FieldError("/sha256", f"expected {sha256}")]
        )


def _part_bytes(wanted: Wanted, size: int) -> int:
    chosen = wanted.part_bytes or usual_part_bytes(size)
    count = Plan(size, chosen).count
    if count > MOST_PARTS:
        least = -(-size // MOST_PARTS)
        raise _wrong(
            "/part_bytes", f"that makes {count:,} parts, {MOST_PARTS:,} are allowed; expected at least {least}"
        )
    return chosen


def _check_place(session: Session, dataset: Dataset, path: str) -> None:
    """A file cannot be a folder of another one, nor another one its folder."""
    above = [str(parent) for parent in PurePosixPath(path).parents]
    for table in (DatasetFile, UploadSession):
        clash = or_(table.path.in_(above), table.path.startswith(f"{path}/", autoescape=True))
        mine = [table.dataset_id == dataset.id, clash]
        if table is UploadSession:
            mine.append(UploadSession.state.in_(LIVE))
        other = session.scalars(select(table.path).where(*mine).limit(1)).first()
        if other is not None:
            raise _wrong("/path", f"{path} and {other}: one is a file and the folder of the other")


def _check_limits(session: Session, dataset: Dataset, path: str, size: int, limits: Limits) -> None:
    if size > limits.file_bytes:
        detail = f"{path} has {size:,} bytes; the limit for a file is {limits.file_bytes:,}"
        raise TooLarge(f"{detail}. Split it, or raise MEDCOSS_MAX_FILE_BYTES", [FieldError("/size", "too large")])
    announced = exists().where(DatasetFile.dataset_id == dataset.id, DatasetFile.path == UploadSession.path)
    coming = select(func.count(), func.coalesce(func.sum(UploadSession.size), 0))
    coming = coming.where(UploadSession.dataset_id == dataset.id, UploadSession.state.in_(LIVE), ~announced)
    count, more = session.execute(coming).one()
    if dataset.total_bytes + more + size > limits.dataset_bytes:
        detail = f"with {path} the dataset has more than {limits.dataset_bytes:,} bytes"
        raise TooLarge(f"{detail}. Split it, or raise MEDCOSS_MAX_DATASET_BYTES", [FieldError("/size", "too large")])
    if dataset.file_count + count + 1 > MOST_FILES:
        raise TooLarge(f"the dataset has {MOST_FILES:,} files; upload {path} as another dataset")
