"""The tables of MIMIC-CXR: which images there are, of whom, seen from where, and in which split."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from medcoss.preprocess.raw import Raw
from medcoss.preprocess.tables import TABLE_SUFFIXES, read_table
from medcoss.run import BadInput
from medcoss.specs.names import SPLIT_NAMES

COHORT = "mimic_cxr"
FRONTAL = ("PA", "AP")
MASTER = "master.csv"
_SPLIT, _METADATA = "-split.csv", "-metadata.csv"


@dataclass(frozen=True, slots=True)
class Radiograph:
    """One image: identifiers as in the tables, without the letters p and s; `frontal` when taken PA or AP."""

    dicom: str
    study: str
    subject: str
    split: str
    frontal: bool


def radiographs(raw: Raw) -> Iterator[Radiograph]:
    """All images of the tables: `master.csv` where there is one, else the metadata and split tables.

    Raises BadInput when a table is missing, lacks a column or holds a split that is not known.
    """
    if master := find_table(raw, MASTER):
        for row in read_table(raw, master, ["dicom_id", "subject_id", "study_id", "ViewPosition", "split"]):
            yield _radiograph(row, _split(row, master))
        return
    splits = _splits(raw, _needed(raw, _SPLIT))
    metadata = _needed(raw, _METADATA)
    for row in read_table(raw, metadata, ["dicom_id", "subject_id", "study_id", "ViewPosition"]):
        # an image without split is none of the published dataset
        if row["dicom_id"] in splits:
            yield _radiograph(row, splits[row["dicom_id"]])


def find_table(raw: Raw, ending: str) -> str | None:
    """The first CSV table, plain or gzipped, whose name ends so; None when there is none."""
    return next((p for p in raw.files(TABLE_SUFFIXES) if _name(p).endswith(ending)), None)


def bare(identifier: str) -> str:
    """An identifier without the letter that folders and MGCA put before it: p10000032, s50414267."""
    return identifier.strip().lstrip("ps")


def _name(path: str) -> str:
    return PurePosixPath(path).name.lower().removesuffix(".gz")


def _needed(raw: Raw, ending: str) -> str:
    found = find_table(raw, ending)
    if found is None:
        raise BadInput(
            f"there is no table mimic-cxr-2.0.0{ending}.gz (of MIMIC-CXR-JPG) and no master.csv; add the split and the "
            "metadata table to the dataset",
            "dataset",
        )
    return found


def _splits(raw: Raw, path: str) -> dict[str, str]:
    rows = read_table(raw, path, ["dicom_id", "study_id", "subject_id", "split"])
    return {row["dicom_id"]: _split(row, path) for row in rows}


def _split(row: dict[str, str], path: str) -> str:
    found = row["split"].strip().lower()
    if found not in SPLIT_NAMES:
        raise BadInput(f"the column split holds '{found}'; expected train, validate or test", path)
    return SPLIT_NAMES[found]


def _radiograph(row: dict[str, str], split: str) -> Radiograph:
    frontal = row["ViewPosition"].strip().upper() in FRONTAL
    return Radiograph(row["dicom_id"], bare(row["study_id"]), bare(row["subject_id"]), split, frontal)
