"""The items of a recipe over a raw dataset, in a table on disk: memory does not grow with their number."""

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medcoss import __version__
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, Rejected, recipe_of
from medcoss.specs.recipes.base import RecipeSpec, Splits

_TABLES = """
CREATE TABLE items (i INTEGER PRIMARY KEY, bytes INTEGER, patient TEXT, split TEXT, json TEXT);
CREATE TABLE groups (key TEXT PRIMARY KEY, place BLOB, split TEXT, divided INTEGER DEFAULT 0) WITHOUT ROWID;
CREATE TABLE used (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE notes (kind TEXT, path TEXT, reason TEXT);
CREATE TABLE contents (digest TEXT PRIMARY KEY, name TEXT, split TEXT) WITHOUT ROWID;
CREATE TABLE labels (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""
# what of the plan decides about the content of the samples
_CONTENT = ("name", "files", "data")


@dataclass(frozen=True)
class Planned:
    """An item with its split, and the keyed hash of its patient, None where the content stands for the patient."""

    number: int
    item: Item
    split: str
    patient: str | None


class Plan:
    """What is to be done, in `path`; made anew from the raw dataset in every attempt.

    `salt` keys the hashes of patients: whoever does not know it cannot try out identifiers. `refused` are paths and
    reasons of what was bad before the recipe saw it.
    """

    def __init__(self, path: Path, spec: RecipeSpec, raw: Raw, seed: int, salt: bytes,
                 refused: Iterable[tuple[str, str]] = ()) -> None:  # fmt: skip
        path.unlink(missing_ok=True)
        self.spec, self.raw, self.salt = spec, raw, salt
        self.described: Described = recipe_of(spec).describe(spec)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4096; {_TABLES}")
        self._db.execute("BEGIN")
        for name, reason in refused:
            self.note("bad", name, reason)
        self.count, self.bytes, self.digest = self._fill(seed)
        self.rejected = self.noted("bad") + self.noted("left_out")
        self._divide(getattr(spec, "splits", Splits(method="random")))
        self._note_ignored()
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _fill(self, seed: int) -> tuple[int, int, str]:
        digest = hashlib.sha256(f"{__version__} {self.spec.model_dump_json()}".encode())
        count = total = 0
        for entry in recipe_of(self.spec).plan(self.spec, self.raw):
            if isinstance(entry, Item):
                size, content = self._add(count, entry, seed)
                digest.update(content)
                count, total = count + 1, total + size
            else:
                self.note("bad" if isinstance(entry, Rejected) else "left_out", entry.path, entry.reason)
                self._use(entry.path)
        for path in self.raw.touched:
            self._use(path)
        return count, total, digest.hexdigest()

    def _add(self, number: int, item: Item, seed: int) -> tuple[int, bytes]:
        """Store an item; its size in bytes, and what its samples depend on."""
        group = item.patient if item.patient is not None else item.group or item.name
        key = self.patient_key(group) if item.patient is not None else f"group {group}"
        place = hashlib.sha256(f"{seed}:{group}".encode()).digest()
        self._db.execute("INSERT OR IGNORE INTO groups (key, place) VALUES (?, ?)", (key, place))
        if item.split is not None:
            if item.split not in ("train", "val", "test"):
                raise ValueError(f"{item.name}: split {item.split!r}; a recipe has to say train, val, test or None")
            # of a patient in two splits, the first decides for those without one
            self._db.execute("UPDATE groups SET divided = divided OR split <> ?, split = coalesce(split, ?) "
                             "WHERE key = ?", (item.split, item.split, key))  # fmt: skip
        if item.label is not None:
            self._db.execute("INSERT OR IGNORE INTO labels VALUES (?)", (item.label,))
        sizes = [(self.raw.root / file).stat().st_size for file in item.files if self.raw.has(file)]
        for file in item.files:
            self._use(file)
        written = json.dumps(vars(item) | {"patient": None})
        self._db.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?)",
            (number, sum(sizes), key, item.split, json.dumps([item.patient is not None, written])),
        )  # fmt: skip
        return sum(sizes), json.dumps([[getattr(item, name) for name in _CONTENT], sizes]).encode()

    def _use(self, path: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO used VALUES (?)", (path,))

    def _divide(self, splits: Splits) -> None:
        """Give every group without a published split one: in the order of the hash, the first go to test, the next
        to val, the rest to train.
        """
        (whole,) = self._db.execute("SELECT count(*) FROM groups WHERE split IS NULL").fetchone()
        test, val = round(whole * splits.test_fraction), round(whole * splits.val_fraction)
        self._db.execute(
            "UPDATE groups SET split = CASE WHEN ranked.n <= ? THEN 'test' WHEN ranked.n <= ? THEN 'val' ELSE 'train' "
            "END FROM (SELECT key AS k, row_number() OVER (ORDER BY place) AS n FROM groups WHERE split IS NULL) "
            "AS ranked WHERE groups.key = ranked.k", (test, test + val),
        )  # fmt: skip
        self._db.execute("UPDATE items SET split = (SELECT split FROM groups WHERE key = items.patient) "
                         "WHERE split IS NULL")  # fmt: skip

    def _note_ignored(self) -> None:
        for path in self.raw.files():
            if self._db.execute("SELECT 1 FROM used WHERE path = ?", (path,)).fetchone() is None:
                self.note("ignored", path)
        self._db.execute("DELETE FROM used")

    def note(self, kind: str, path: str, reason: str = "") -> None:
        """Remember something for the report."""
        self._db.execute("INSERT INTO notes VALUES (?, ?, ?)", (kind, path, reason))

    def note_content(self, planned: Planned, digest: str) -> None:
        """Remember what an item is recognised by, and note when another one has the same content."""
        name, split = planned.item.name, planned.split
        first = self._db.execute("SELECT name, split FROM contents WHERE digest = ?", (digest,)).fetchone()
        if first is None:
            self._db.execute("INSERT INTO contents VALUES (?, ?, ?)", (digest, name, split))
        elif first[1] == split:
            self.note("duplicate", name, f"the same content as {first[0]}")
        else:
            self.note("duplicate_across_splits", name, f"the same content as {first[0]}; one is in {split}, the other "
                      f"in {first[1]}")  # fmt: skip

    def notes(self, kind: str, limit: int = -1) -> Iterator[tuple[str, str]]:
        """Path and reason of what was noted, in its order."""
        query = "SELECT path, reason FROM notes WHERE kind = ? ORDER BY rowid LIMIT ?"
        yield from self._db.execute(query, (kind, limit))

    def noted(self, kind: str) -> int:
        """How many of a kind were noted."""
        return int(self._db.execute("SELECT count(*) FROM notes WHERE kind = ?", (kind,)).fetchone()[0])

    def items(self, first: int = 0, end: int | None = None) -> Iterator[Planned]:
        """Items number `first` to `end` (exclusive), in their order."""
        query = "SELECT i, patient, split, json FROM items WHERE i >= ? AND i < ? ORDER BY i"
        rows = self._db.execute(query, (first, self.count if end is None else end))
        for number, key, split, stored in rows:
            known, written = json.loads(stored)
            yield Planned(number, _item(written), split, key if known else None)

    def bytes_of(self, first: int, end: int) -> int:
        """Size of the files of some items."""
        found = self._db.execute("SELECT total(bytes) FROM items WHERE i >= ? AND i < ?", (first, end)).fetchone()
        return int(found[0])

    def batches(self, first: int, end: int, items: int, size: int) -> Iterator[tuple[int, int, int]]:
        """First, end (exclusive) and bytes of successive batches of up to so many items or about so many bytes."""
        begun, total = first, 0
        for number, bytes_ in self._db.execute("SELECT i, bytes FROM items WHERE i >= ? AND i < ? ORDER BY i",
                                               (first, end)):  # fmt: skip
            total += bytes_
            if number + 1 - begun == items or total >= size:
                yield begun, number + 1, total
                begun, total = number + 1, 0
        if begun < end:
            yield begun, end, total

    def classes(self) -> list[str]:
        """The names of the classes, in the order of their indices."""
        if self.described.classes is not None:
            return list(self.described.classes)
        return [name for (name,) in self._db.execute("SELECT name FROM labels ORDER BY name")]

    def divided(self) -> int:
        """How many patients or groups stand in two of the published splits."""
        return int(self._db.execute("SELECT count(*) FROM groups WHERE divided").fetchone()[0])

    def unknown_patients(self) -> int:
        """How many items name no patient."""
        return int(self._db.execute("SELECT count(*) FROM items WHERE json LIKE '[false,%'").fetchone()[0])

    def patient_key(self, identifier: str) -> str:
        """What stands for a patient in everything that is written: a keyed hash of cohort and identifier."""
        cohort = self.described.cohort or self.spec.name
        return self._keyed(f"{cohort} {identifier}")

    def content_key(self, digest: str) -> str:
        """What stands for the patient of a file of whom nothing is known: the same file is the same patient."""
        return self._keyed(f"content {digest}")

    def _keyed(self, text: str) -> str:
        return hmac.new(self.salt, text.encode(), hashlib.sha256).hexdigest()[:32]


def _item(written: str) -> Item:
    stored = json.loads(written)
    return Item(**stored | {"files": tuple(stored["files"])})
