"""What becomes of an object: one verdict for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.core.checkpoints import folders, prefix_of
from services.core.db import Database
from services.core.multipart import UnfinishedUpload
from services.core.ownership import Owner, Use, owners, place_of
from services.core.storage import ObjectStore, StoredObject


class Verdict(StrEnum):
    """What an object is. Orphans, superseded checkpoints and unfinished uploads may be removed, nothing else."""

    STORED = "stored"  # as its row says
    UNFINISHED = "unfinished"  # of an upload or a job that goes on
    KEPT = "kept"  # a checkpoint that is kept of a job that failed or was cancelled
    RESERVED = "reserved"  # an attempt stores it now, or the sweeper removes it soon
    YOUNG = "young"  # nobody's, and too young to be sure
    FOREIGN = "foreign"  # nobody's, and not below the platform's folders
    ORPHAN = "orphan"  # nobody's
    SUPERSEDED = "superseded"  # a checkpoint older than those that are kept
    MISSING = "missing"  # a row says that it is there
    WRONG_SIZE = "wrong_size"  # its row says another size
    UPLOAD = "upload"  # a multipart upload that nobody goes on with


REMOVED = frozenset({Verdict.ORPHAN, Verdict.SUPERSEDED, Verdict.UPLOAD})
_BY_USE = {Use.FOLDER: Verdict.STORED, Use.UNFINISHED: Verdict.UNFINISHED, Use.RESERVED: Verdict.RESERVED,
           Use.FOREIGN: Verdict.FOREIGN}  # fmt: skip


@dataclass(frozen=True)
class Judge:
    """Judges objects by the rows of this moment.

    What was changed after `cutoff` is never removed. `keep` is the number of whole checkpoints that stay of a job that
    failed or was cancelled, None for all.
    """

    database: Database
    store: ObjectStore
    cutoff: datetime
    keep: int | None

    def objects(self, page: Sequence[StoredObject]) -> list[tuple[StoredObject, Verdict, Owner | None]]:
        """The verdict on each object, and its owner if it has one."""
        with self.database.snapshot() as session:
            found = owners(session, [each.key for each in page])
        ended = {o.id for o in found.values() if o.use is Use.KEPT}
        newest = {job_id: self._newest(job_id) for job_id in ended} if self.keep is not None else {}
        return [(each, self._verdict(each, owner, newest), owner) for each in page for owner in [found.get(each.key)]]

    def _verdict(self, each: StoredObject, owner: Owner | None, newest: dict[str, list[str]]) -> Verdict:
        if owner is None:
            return Verdict.ORPHAN if each.modified < self.cutoff else Verdict.YOUNG
        if owner.use is Use.NAMED:
            return Verdict.STORED if owner.size == each.size else Verdict.WRONG_SIZE
        if owner.use is not Use.KEPT:
            return _BY_USE[owner.use]
        ended = owner.ended_at is not None and max(owner.ended_at, each.modified) < self.cutoff
        over = ended and owner.id in newest and place_of(each.key) not in newest[owner.id]
        return Verdict.SUPERSEDED if over else Verdict.KEPT

    def _newest(self, job_id: str) -> list[str]:
        """The folders of a job's newest whole checkpoints."""
        listed = folders(self.store.list_keys(f"{prefix_of(job_id)}/"))
        return [folder for folder, whole in listed if whole][: self.keep]

    def uploads(self, page: Sequence[UnfinishedUpload]) -> list[UnfinishedUpload]:
        """Those multipart uploads that nobody goes on with.

        Attempts upload below what is reserved or to their job's folder; an upload to a dataset that is not complete
        has its file's row.
        """
        with self.database.snapshot() as session:
            found = owners(session, [each.key for each in page])
        going_on = {key for key, owner in found.items() if owner.use not in {Use.NAMED, Use.FOLDER, Use.KEPT}}
        return [each for each in page if each.started < self.cutoff and each.key not in going_on]
