"""Files in parts, between the records and the object store: begun, put together, repaired, cleared away.

No transaction is open while the object store is asked. Whatever dies in between, the same request does the rest, or
the sweeper.
"""

import time
from collections.abc import Sequence
from datetime import datetime

import structlog
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from services.core import uploads
from services.core.db import Database
from services.core.errors import Conflict, FieldError, ValidationFailed
from services.core.multipart import PartsGone, PartsWrong, StoredPart, whole_etag
from services.core.scope import Scope
from services.core.storage import ObjectStore
from services.core.tables import UploadSession
from services.core.tables.base import now

NAMED_AT_MOST = 100
_log = structlog.get_logger()


def begin(database: Database, store: ObjectStore, row: UploadSession) -> str:
    """The object store's name for an open session; the store is asked for one if there is none yet."""
    if row.s3_id is not None:
        return row.s3_id
    s3_id = store.multipart.begin(row.key)
    with database.session() as session:
        won = uploads.note_begun(session, row.id, None, s3_id)
    if won:
        return s3_id
    store.multipart.abort(row.key, s3_id)
    with database.reading() as session:
        present = session.get(UploadSession, row.id)
    if present is None or present.s3_id is None:
        raise Conflict(f"the upload of {row.path} was aborted meanwhile; start it again")
    return present.s3_id


def arrived(database: Database, store: ObjectStore, row: UploadSession) -> set[StoredPart]:
    """The parts of an open session that are there."""
    if row.s3_id is None:
        return set()
    try:
        return store.multipart.parts(row.key, row.s3_id)
    except PartsGone:
        lost(database, row)
        return set()


def lost(database: Database, row: UploadSession) -> None:
    """The object store has dropped the parts of an open session: it is begun again with the next URL."""
    with database.session() as session:
        uploads.note_begun(session, row.id, row.s3_id, None)


def complete(database: Database, store: ObjectStore, scope: Scope, dataset_id: str, upload_id: str,
             md5s: Sequence[str], sha256: str | None) -> UploadSession:  # fmt: skip
    """Make one object of parts with these hexadecimal MD5s, in order; the session, which is completed then.

    Repeated, it gives the same answer and mends what a dead request has left. Raises ValidationFailed, Conflict naming
    the parts that are missing or wrong, NotFound.
    """
    with database.reading() as session:
        row = uploads.get(session, scope, dataset_id, upload_id)
    digest = _sha256(row, sha256)
    count = uploads.plan_of(row).count
    if len(md5s) != count:
        detail = f"{len(md5s)} parts; {row.path} has {count}, each of {row.part_bytes:,} bytes but for the last"
        raise ValidationFailed(f"/md5s: {detail}", [FieldError("/md5s", f"expected {count}")])
    wrong = _wrong_parts(row, md5s, arrived(database, store, row)) if row.state == "open" else []
    if wrong:
        with database.reading() as session:
            # or its parts are gone because another request has put them together
            row = uploads.get(session, scope, dataset_id, upload_id)
        if row.state == "open":
            summary = f"{len(wrong)} of {count} parts are missing or wrong: {wrong[0].detail}"
            raise Conflict(summary, wrong[:NAMED_AT_MOST])
    etag = whole_etag(md5s)
    with database.session() as session:
        state = uploads.claim(session, row, etag, digest, now())
    if state == "completing" and not _assemble(store, row, md5s, etag):
        with database.session() as session:
            uploads.reopen(session, row.id)
        raise Conflict(f"the object store could not put {row.path} together; ask for its parts, and complete it again")
    return _finished(database, row)


def _finished(database: Database, row: UploadSession) -> UploadSession:
    with database.session() as session:
        done = uploads.finish(session, row.id)
    if done is None:
        raise Conflict(f"{row.path} was dropped while it was completed, with its dataset; upload it again")
    return done


def _sha256(row: UploadSession, given: str | None) -> str:
    """The SHA-256 that goes on record: jobs verify the whole file by it."""
    if given is not None and row.sha256 is not None and given != row.sha256:
        detail = f"{row.path} was announced with another SHA-256"
        raise Conflict(detail, [FieldError("/sha256", f"expected {row.sha256}")])
    found = row.sha256 or given
    if found is None:
        detail = f"the SHA-256 of {row.path} is needed; it was not announced"
        raise ValidationFailed(f"/sha256: {detail}", [FieldError("/sha256", detail)])
    return found


def _wrong_parts(row: UploadSession, md5s: Sequence[str], stored: set[StoredPart]) -> list[FieldError]:
    plan = uploads.plan_of(row)
    numbers = {part.number for part in stored}
    wrong = []
    for number, md5 in enumerate(md5s, start=1):
        if StoredPart(number, plan.size_of(number), md5) in stored:
            continue
        there = "arrived with other content or another size" if number in numbers else "has not arrived"
        detail = f"part {number} of {row.path} {there}; expected {plan.size_of(number):,} bytes with MD5 {md5}"
        wrong.append(FieldError(f"/md5s/{number - 1}", f"{detail}. Send it again"))
    return wrong


def _assemble(store: ObjectStore, row: UploadSession, md5s: Sequence[str], etag: str) -> bool:
    """Have the parts put together; False when the store has not got them. Two at once do no harm."""
    try:
        store.multipart.put_together(row.key, row.s3_id or "", md5s)
    except (PartsGone, PartsWrong) as error:
        # gone also when it has been done before
        _log.warning("parts_not_put_together", upload=row.id, error=type(error).__name__)
    return _is_there(store, row, etag)


def _is_there(store: ObjectStore, row: UploadSession, etag: str | None) -> bool:
    return store.size_and_etag(row.key) == (row.size, etag)


def clean(database: Database, store: ObjectStore, moment: datetime, budget_s: float) -> int:
    """Mend what requests that died have left, and have the store forget the parts of sessions that are over, for at
    most about `budget_s` seconds; the number of sessions that are gone. What fails stays for the next time.
    """
    until = time.monotonic() + budget_s
    with database.reading() as session:
        stale, over = uploads.stale(session, moment), uploads.over(session, moment)
    gone = 0
    for row in (*stale, *over):
        try:
            if row.state == "completing":
                _mend(database, store, row)
            else:
                gone += _drop(database, store, row)
        except (MinioException, HTTPError, OSError) as error:
            _log.warning("upload_stays", upload=row.id, error=type(error).__name__)
        if time.monotonic() > until:
            break
    return gone


def _mend(database: Database, store: ObjectStore, row: UploadSession) -> None:
    """End what somebody has begun: the file is there, or its parts may be put together again."""
    done = _is_there(store, row, row.etag)
    with database.session() as session:
        if done:
            uploads.finish(session, row.id)
        else:
            uploads.reopen(session, row.id)


def begun_for(store: ObjectStore, key: str) -> list[str]:
    """The store's names for all that was begun for a key and neither put together nor given up."""
    return [each.upload_id for page in store.multipart.unfinished(key) for each in page if each.key == key]


def _drop(database: Database, store: ObjectStore, row: UploadSession) -> bool:
    """Abort whatever was begun for a key and is not in use; False when that is not clear at this moment."""
    begun: set[str | None] = set(begun_for(store, row.key))
    if row.state == "aborted" and row.s3_id is not None:
        begun.add(row.s3_id)
    # asked after the store: what was begun since is not in the list
    with database.reading() as session:
        used = uploads.in_use(session, row.key)
    if None in used:
        return False
    for s3_id in begun - used:
        store.multipart.abort(row.key, str(s3_id))
    with database.session() as session:
        uploads.forget(session, row.id)
    return True
