"""One run of the garbage collector, from the first page of the listing to the last object that goes.

The store is read in pages, so that memory does not grow with it: what is kept is one number for each owner. First
everything is compared and written down; then, unless it is a dry run, what was found is looked at once more, folder by
folder, and what is still nobody's is removed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import update

from services.core.db import Database
from services.core.garbage import runs
from services.core.garbage.missing import missing
from services.core.garbage.verdicts import REMOVED, Judge, Verdict
from services.core.ownership import Owner, place_of
from services.core.storage import ObjectStore
from services.core.tables import GcFinding, GcRun
from services.core.tables.base import now

EXAMPLES = 5
# what is told folder by folder; of the rest only the sum
_TOLD = REMOVED | {Verdict.FOREIGN}

_log = structlog.get_logger()


class TooMuch(Exception):
    """So much would be removed that something else must be wrong."""


@dataclass
class _Folder:
    """What has one verdict in one folder."""

    objects: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    examples: list[str] = field(default_factory=list)

    def add(self, key: str, size: int, moment: datetime) -> None:
        self.objects += 1
        self.bytes += size
        self.oldest = min(self.oldest or moment, moment)
        self.newest = max(self.newest or moment, moment)
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


class Collection:
    """Carries out a claimed run; `unload` is called with the name of a served model before its files go."""

    def __init__(self, database: Database, store: ObjectStore, run: GcRun, unload: Callable[[str], None],
                 moment: datetime | None = None) -> None:  # fmt: skip
        self.database, self.store, self.run, self.unload = database, store, run, unload
        cutoff = (moment or now()) - timedelta(seconds=run.grace_s)
        self.judge = Judge(database, store, cutoff, run.keep_checkpoints)
        self.listed = 0
        self.report: dict[str, Counter[str]] = {verdict: Counter(objects=0, bytes=0) for verdict in Verdict}
        self.removed = Counter(objects=0, bytes=0)

    def carry_out(self) -> None:
        """Compare and, unless it is a dry run, remove.

        Raises Stopped when it was cancelled or lost, TooMuch when more would go than is allowed.
        """
        stored = self._compare()
        self._note(stage="missing")
        for verdict, lack in missing(self.database, self.store, stored, self._note):
            self._write([self._finding(verdict, **vars(lack))])
            self.report[verdict].update(objects=lack.objects, bytes=lack.bytes)
        self._uploads()
        self._note()
        if self.run.dry_run:
            return
        self._check_share()
        self._note(stage="removing")
        for verdict, prefix, seq in self._doomed():
            self._remove(verdict, prefix, seq)

    def _note(self, **values: Any) -> None:
        told = {verdict: dict(counts) for verdict, counts in self.report.items()}
        removed = {"removed": self.removed["objects"], "removed_bytes": self.removed["bytes"]}
        with self.database.session() as session:
            runs.note(session, self.run.id, self.run.fence, listed=self.listed, report=told, **removed, **values)

    def _write(self, rows: Iterable[GcFinding]) -> None:
        with self.database.session() as session:
            runs.note(session, self.run.id, self.run.fence)
            runs.add_findings(session, rows)

    def _finding(self, verdict: Verdict, prefix: str, objects: int, bytes: int, examples: list[str],
                 owner: str | None = None, owner_name: str | None = None, oldest: datetime | None = None,
                 newest: datetime | None = None) -> GcFinding:  # fmt: skip
        return GcFinding(
            run_id=self.run.id, kind=verdict, prefix=prefix[:1024], owner=owner, owner_name=owner_name,
            objects=objects, bytes=bytes, oldest=oldest, newest=newest, examples=examples,
        )  # fmt: skip

    def _compare(self) -> Counter[tuple[str, str]]:
        """Go through the whole store; how many objects of each owner are there as its row says."""
        stored: Counter[tuple[str, str]] = Counter()
        open_: dict[tuple[Verdict, str], tuple[_Folder, Owner | None]] = {}
        for page in self.store.pages():
            for each, verdict, owner in self.judge.objects(page):
                # what is wrong is looked at again, owner by owner
                if verdict is not Verdict.WRONG_SIZE:
                    self.report[verdict].update(objects=1, bytes=each.size)
                if verdict is Verdict.STORED and owner is not None:
                    stored[owner.noun, owner.id] += 1
                if verdict in _TOLD:
                    folder, _ = open_.setdefault((verdict, place_of(each.key)), (_Folder(), owner))
                    folder.add(each.key, each.size, each.modified)
            self.listed += len(page)
            # a folder's objects come together: what the next page can add to is the last one alone
            last = place_of(page[-1].key)
            self._write_folders({key: known for key, known in open_.items() if key[1] != last})
            open_ = {key: known for key, known in open_.items() if key[1] == last}
            self._note()
        self._write_folders(open_)
        return stored

    def _write_folders(self, closed: dict[tuple[Verdict, str], tuple[_Folder, Owner | None]]) -> None:
        if closed:
            self._write(
                self._finding(verdict, prefix, owner=owner.id or None if owner else None, **vars(folder))
                for (verdict, prefix), (folder, owner) in closed.items()
            )

    def _uploads(self) -> None:
        for page in self.store.multipart.unfinished():
            folders: dict[str, _Folder] = {}
            for each in self.judge.uploads(page):
                folders.setdefault(place_of(each.key), _Folder()).add(each.key, 0, each.started)
                self.report[Verdict.UPLOAD].update(objects=1)
            self._write(self._finding(Verdict.UPLOAD, prefix, **vars(found)) for prefix, found in folders.items())

    def _check_share(self) -> None:
        doomed = sum(self.report[verdict]["objects"] for verdict in (Verdict.ORPHAN, Verdict.SUPERSEDED))
        if doomed > self.run.max_fraction * self.listed:
            raise TooMuch(
                f"{doomed:,} of {self.listed:,} objects would be removed, more than the fraction "
                f"{self.run.max_fraction:g} that is allowed; nothing was. Is this the database of this bucket? If it "
                "is, allow a larger fraction"
            )

    def _doomed(self) -> Iterable[tuple[Verdict, str, int]]:
        after = 0
        while True:
            with self.database.reading() as session:
                rows = runs.findings(session, self.run.id, after, 500)
            if not rows:
                return
            yield from ((Verdict(r.kind), r.prefix, r.seq) for r in rows if r.kind in REMOVED)
            after = rows[-1].seq

    def _remove(self, verdict: Verdict, prefix: str, seq: int) -> None:
        """Remove what is still nobody's in a folder: rows are asked again just before."""
        count = Counter(objects=0, bytes=0)
        for removed in self._portions(verdict, prefix):
            count.update(removed)
            self.removed.update(removed)
            with self.database.session() as session:
                found = update(GcFinding).where(GcFinding.seq == seq)
                session.execute(found.values(removed=count["objects"], removed_bytes=count["bytes"]))
            self._note()

    def _portions(self, verdict: Verdict, prefix: str) -> Iterator[dict[str, int]]:
        if verdict is Verdict.UPLOAD:
            for uploads in self.store.multipart.unfinished(prefix):
                gone = self.judge.uploads(uploads)
                for upload in gone:
                    self.store.multipart.abort(upload.key, upload.upload_id)
                yield {"objects": len(gone)}
            return
        for page in self.store.pages(prefix):
            doomed = [each for each, its, _ in self.judge.objects(page) if its is verdict]
            if doomed and prefix.startswith("triton/") and not self._unloaded(prefix):
                return
            self.store.remove(each.key for each in doomed)
            yield {"objects": len(doomed), "bytes": sum(each.size for each in doomed)}

    def _unloaded(self, prefix: str) -> bool:
        """Take a model out of Triton, as its files go; False when Triton is away: they stay for the next run."""
        try:
            self.unload(prefix.split("/")[1])
        except OSError as error:
            _log.warning("garbage_stays", prefix=prefix, error=type(error).__name__)
            return False
        return True
