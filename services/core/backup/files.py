"""What a backup looks like on disk: a folder that only its owner may read.

`backup.json` tells what it is, with the checksum of every other file; `tables/<name>.jsonl.gz` holds a row a line;
`objects.jsonl.gz` an object a line; `objects/<2 digits>/<sha256>` the objects themselves, if they were asked for.
"""

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medcoss.run import sha256_file

FORMAT = 1
HEADER = "backup.json"
OBJECTS = "objects.jsonl.gz"
Kind = Literal["plain", "moment", "json", "bool"]


class BackupError(Exception):
    """It cannot be backed up or restored; the message says why and what to do."""


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Lines(_Record):
    """A file of lines, and its checksum."""

    lines: int
    sha256: str


class Table(Lines):
    """The rows of a table: `columns` are names and how their values are written; `counter` is the column whose numbers
    are counted up, and the last one that was given.
    """

    columns: list[tuple[str, Kind]]
    counter: tuple[str, int] | None = None


class StoredEntry(_Record):
    """An object that rows own: key, size in bytes, SHA-256 ("" while it is not known), and whose it is."""

    key: str = Field(pattern="^(datasets|models|evaluations|indexes|jobs|triton)/")
    size: int
    sha256: str = Field(pattern="^([0-9a-f]{64})?$")
    owner: str


class Header(_Record):
    """What a backup is: `revision` is the schema's; `copied` says whether the objects are in it."""

    format: Literal[1] = 1
    version: str
    revision: str
    made_at: datetime
    database: str
    tables: dict[str, Table]
    objects: Lines
    object_bytes: int
    copied: bool


@dataclass
class LineWriter:
    """Writes JSON, a value a line."""

    file: Any
    lines: int = 0

    def write(self, value: Any) -> None:
        """One line."""
        self.file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")
        self.lines += 1


@contextmanager
def writing_lines(path: Path) -> Iterator[LineWriter]:
    """A compressed file of lines, new, private and on disk at the end."""
    with (
        _new(path) as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
    ):
        writer = LineWriter(_Text(packed))
        yield writer
        packed.close()
        raw.flush()
        os.fsync(raw.fileno())


class _Text:
    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed = packed

    def write(self, text: str) -> None:
        self._packed.write(text.encode("utf-8", "surrogatepass"))


def lines_of(path: Path, lines: int) -> Lines:
    """The record of a file that was written."""
    return Lines(lines=lines, sha256=sha256_file(path))


def read_lines(path: Path) -> Iterator[Any]:
    """The values of a file of lines."""
    with gzip.open(path, "rb") as packed:
        for line in packed:
            yield json.loads(line.decode("utf-8", "surrogatepass"))


def _new(path: Path) -> BinaryIO:
    """A new file that only its owner may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` when all went well, and vanishes when it did not. Raises BackupError when there is
    something already.
    """
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} is there already; name a new folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}.partial")
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    draft.mkdir(mode=0o700)
    try:
        yield draft
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_header(folder: Path, header: Header) -> None:
    """Write what the backup is, last of all."""
    with _new(folder / HEADER) as file:
        file.write((header.model_dump_json(indent=2) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())


def read_header(folder: Path) -> Header:
    """What a backup is. Raises BackupError when it is none, or one of another format."""
    path = folder / HEADER
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        raise BackupError(f"{folder} is no backup: it has no {HEADER}") from None
    except ValueError:
        raise BackupError(f"{path} is damaged; take another backup") from None
    if isinstance(document, dict) and document.get("format") != FORMAT:
        raise BackupError(
            f"{path} is of the format {document.get('format')!r}, this version of medcoss reads {FORMAT}; restore it "
            "with the version that made it"
        )
    try:
        return Header.model_validate(document)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise BackupError(f"{path} is damaged ({where}: {error.errors()[0]['msg']}); take another backup") from None


def check(folder: Path, header: Header) -> None:
    """Compare the files of a backup with their checksums. Raises BackupError naming the first that differs."""
    named = {f"tables/{name}.jsonl.gz": table.sha256 for name, table in header.tables.items()}
    for name, sha256 in {**named, OBJECTS: header.objects.sha256}.items():
        path = folder / name
        if not path.is_file():
            raise BackupError(f"{path} is missing; the backup is not whole, take another one")
        if sha256_file(path) != sha256:
            raise BackupError(f"{path} has other content than was written (its SHA-256 differs); take another backup")


def copy_of(folder: Path, sha256: str) -> Path:
    """Where an object with this content is in a backup that has them."""
    return folder / "objects" / sha256[:2] / sha256


def write_stream(chunks: Iterable[bytes], path: Path) -> tuple[int, str]:
    """Store what comes in a new private file; its size in bytes and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with _new(path) as file:
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()
