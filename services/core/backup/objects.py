"""The objects that rows own: listed with a backup, copied if wanted, and looked for after a restore."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, select

from services.core.backup.files import BackupError, StoredEntry, copy_of, read_lines, write_stream, writing_lines
from services.core.checkpoints import MANIFEST, Manifest, folders, prefix_of
from services.core.ids import new_id
from services.core.lifecycle import TERMINAL
from services.core.ownership import NAMED
from services.core.served_names import triton_name
from services.core.storage import ObjectStore
from services.core.tables import Deployment, Job

AT_ONCE = 4
PORTION = 256
EXAMPLES = 20
# a job that runs writes a new checkpoint and drops an old one while it is copied
TRIES = 3
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Found:
    """How many objects were looked at, their bytes, how many were stored, and what is wrong: `key: what`."""

    objects: int = 0
    bytes: int = 0
    stored: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def complain(self, key: str, what: str) -> None:
        """One that is not as it should be."""
        self.wrong += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{key}: {what}")


def note(connection: Connection, path: Path) -> None:
    """Write down what rows own, as far as they tell; `survey` asks the store for the rest."""
    with writing_lines(path) as writer:
        for noun, named in NAMED.items():
            for row in connection.execute(named.rows.execution_options(yield_per=1000)):
                writer.write([row.key, row.size, row.sha256, f"{noun} {row.owner}"])
        for row_id, name, version in connection.execute(
            select(Deployment.id, Deployment.name, Deployment.version).where(Deployment.ready_at.is_not(None))
        ):
            writer.write([f"triton/{triton_name(name, version)}/", None, None, f"deployment {row_id}"])
        for (job_id,) in connection.execute(select(Job.id).where(Job.state.not_in(TERMINAL), Job.fence > 0)):
            writer.write([f"{prefix_of(job_id)}/", None, None, f"job {job_id}"])


def survey(store: ObjectStore, noted: Path, folder: Path, target: Path, *, copied: bool) -> tuple[Found, int]:
    """Write the list of all objects to `target`, and copy them below `folder` if wanted; what was found, and the number
    of lines. What no row tells the checksum of is read.
    """
    found = Found()
    with writing_lines(target) as writer:
        work = partial(_entries, store, folder, copied)
        for results in _in_portions(read_lines(noted), work, lambda line: copied or line[2] is None):
            for entry, what in results:
                if what is not None:
                    found.complain(entry.key, what)
                    continue
                writer.write(entry.model_dump())
                found.objects += 1
                found.bytes += entry.size
    return found, writer.lines


def _in_portions(items: Iterator[T], work: Callable[[T], R], asks: Callable[[T], bool]) -> Iterator[R]:
    """The results of some items at once, in order, without holding all of them; `asks` says which ask the store."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while portion := list(islice(items, PORTION)):
            # a thread for each of those that ask nobody takes longer than the work
            yield from (pool.map if any(map(asks, portion)) else map)(work, portion)


def _entries(store: ObjectStore, folder: Path, copied: bool,
             line: list[Any]) -> list[tuple[StoredEntry, str | None]]:  # fmt: skip
    """The objects of a noted line, each with what is wrong with it."""
    key, size, sha256, owner = line
    if not key.endswith("/"):
        entry = StoredEntry(key=key, size=size, sha256=sha256 or "", owner=owner)
        # where the row tells all, the store need not be asked
        return [(entry, None) if sha256 and not copied else _read(store, entry, folder, copied)]
    return list(_below(store, folder, copied, key, owner))


def _below(store: ObjectStore, folder: Path, copied: bool, key: str,
           owner: str) -> Iterator[tuple[StoredEntry, str | None]]:  # fmt: skip
    """The objects of a folder that a row owns."""
    if owner.startswith("deployment"):
        listed = [each for page in store.pages(key) for each in page]
        if not listed:
            yield StoredEntry(key=key, size=0, sha256="", owner=owner), "nothing is stored there"
        for each in listed:
            yield _read(store, StoredEntry(key=each.key, size=each.size, sha256="", owner=owner), folder, copied)
    else:
        yield from _checkpoint(store, key, owner, folder, copied)


def _checkpoint(store: ObjectStore, prefix: str, owner: str, folder: Path,
                copied: bool) -> Iterator[tuple[StoredEntry, str | None]]:  # fmt: skip
    """The newest whole checkpoint of a job; none when there is none."""
    results: list[tuple[StoredEntry, str | None]] = []
    for _ in range(TRIES):
        newest = next((place for place, whole in folders(store.list_keys(prefix)) if whole), None)
        if newest is None:
            return
        with suppress(FileNotFoundError, ValidationError):
            manifest = Manifest.model_validate_json(store.get_bytes(newest + MANIFEST))
            wanted = [
                StoredEntry(key=newest + f.path, size=f.size, sha256=f.sha256, owner=owner) for f in manifest.files
            ]
            results = [_read(store, entry, folder, copied) for entry in wanted]
            size = store.size(newest + MANIFEST)
            last = StoredEntry(key=newest + MANIFEST, size=size or 0, sha256="", owner=owner)
            results.append(_read(store, last, folder, copied))
            if all(what is None for _, what in results):
                break
    yield from results


def _read(store: ObjectStore, entry: StoredEntry, folder: Path, copied: bool) -> tuple[StoredEntry, str | None]:
    """Read an object: its checksum where no row tells it, a copy if wanted; and what is wrong."""
    try:
        if copied:
            size, sha256 = _copy(store, entry.key, folder)
        else:
            size, sha256 = digest_of(store, entry.key)
    except FileNotFoundError:
        return entry, "is missing"
    what = _difference(entry, size, sha256) if entry.sha256 else None
    if what is None and size != entry.size:
        what = f"has {size:,} bytes, recorded are {entry.size:,}"
    return entry.model_copy(update={"sha256": sha256}), what


def _copy(store: ObjectStore, key: str, folder: Path) -> tuple[int, str]:
    draft = folder / "objects" / f"{new_id('copy')}.partial"
    draft.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        size, sha256 = write_stream(store.read(key), draft)
        target = copy_of(folder, sha256)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return size, sha256


def digest_of(store: ObjectStore, key: str) -> tuple[int, str]:
    """Size in bytes and SHA-256 of an object. Raises FileNotFoundError."""
    digest, size = hashlib.sha256(), 0
    for chunk in store.read(key):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _difference(entry: StoredEntry, size: int, sha256: str) -> str | None:
    if size != entry.size:
        return f"has {size:,} bytes, recorded are {entry.size:,}"
    return None if sha256 == entry.sha256 else "has other content than was recorded (its SHA-256 differs)"


def put_back(store: ObjectStore, folder: Path, path: Path, tell: Callable[[Found], None]) -> Found:
    """Look whether every listed object is stored as it was, and store those that are not from the backup's copies.

    All of them are read. `tell` learns how far it is.
    """
    found = Found()

    def settle(line: dict[str, Any]) -> tuple[StoredEntry, str | None, bool]:
        try:
            entry = StoredEntry.model_validate(line)
        except ValidationError as error:
            raise BackupError(f"{path} names what no row can own; it was changed: take another backup") from error
        what = _looked_at(store, entry)
        copy = copy_of(folder, entry.sha256)
        if what is None or not copy.is_file():
            return entry, what, False
        store.put_file(entry.key, copy)
        return entry, _looked_at(store, entry), True

    for entry, what, stored in _in_portions(read_lines(path), settle, lambda _: True):
        found.objects += 1
        found.bytes += entry.size
        found.stored += stored
        if what is not None:
            found.complain(f"{entry.key} ({entry.owner})", what)
        if found.objects % PORTION == 0:
            tell(found)
    return found


def _looked_at(store: ObjectStore, entry: StoredEntry) -> str | None:
    try:
        return _difference(entry, *digest_of(store, entry.key))
    except FileNotFoundError:
        return "is missing"
