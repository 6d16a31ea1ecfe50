"""What is sent to a served model: a file, a folder of DICOM files, a text, or where the platform finds the input."""

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Stored:
    """A file of a dataset of the platform, or the folder of a DICOM series, whose `path` ends in a slash."""

    dataset: str
    path: str


@dataclass(frozen=True)
class S3Object:
    """An object of the platform's bucket: s3://bucket/datasets/ds_.../..."""

    url: str


@dataclass(frozen=True)
class DicomWeb:
    """A study, series or instance of a DICOMweb server that the gateway knows, by its address."""

    url: str


Given = Path | bytes | str | Stored | S3Object | DicomWeb


@contextmanager
def body_of(given: Given, filename: str | None) -> Iterator[dict[str, Any]]:
    """The body of a request as arguments of `Transport.call`.

    Raises FileNotFoundError for a path where nothing is, and for a folder without files.
    """
    if isinstance(given, Stored):
        yield {"json": {"dataset": given.dataset, "path": given.path}}
    elif isinstance(given, S3Object):
        yield {"json": {"s3": given.url}}
    elif isinstance(given, DicomWeb):
        yield {"json": {"dicomweb": given.url}}
    elif isinstance(given, bytes):
        yield {"content": given, "headers": _headers(filename or "")}
    elif isinstance(given, str) and not _names_a_file(given):
        yield {"json": {"text": given}}
    elif Path(given).is_dir():
        with _zipped(Path(given)) as archive:
            yield {"content": archive, "headers": _headers(filename or f"{Path(given).resolve().name}.zip")}
    else:
        path = Path(given)
        with path.open("rb") as handle:
            yield {"content": handle, "headers": _headers(filename or path.name)}


@contextmanager
def _zipped(folder: Path) -> Iterator[io.BufferedIOBase]:
    """The files below a folder as a zip archive, stored as they are: pixels hardly pack."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not files:
        raise FileNotFoundError(f"{folder}: the folder holds no files; expected those of a DICOM series")
    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in files:
                archive.write(path, path.relative_to(folder).as_posix())
        target.seek(0)
        yield target


def _names_a_file(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        # too long for a path, or with characters that no path has
        return False


def _headers(filename: str) -> dict[str, str]:
    named = {"X-Filename": quote(filename)} if filename else {}
    return {"Content-Type": "application/octet-stream"} | named
