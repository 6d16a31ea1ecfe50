"""Any images with classes.

Expected layout: `labels.csv` (`table`) with the columns file and label and, if named, patient and split; files are
given as seen from the folder of the table; a file of several rows counts once, and not at all when its rows contradict
each other. Without table: `[train|validation|test]/<class>/image.{png,jpg,tif,dcm}`.

Samples are uint8 (1, H, W) for X-ray and (3, H, W) for pathology, bicubic, 224 x 224 pixels by default, with a class;
classes are the labels found, sorted.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.patients import patient_of
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.recipes import image_folder
from medcoss.preprocess.tables import read_table
from medcoss.run import BadInput
from medcoss.specs.names import SPLIT_NAMES
from medcoss.specs.recipes.image_folder import ImageFolder
from medcoss.specs.recipes.labelled_image_folder import LabelledImageFolder


def describe(spec: LabelledImageFolder) -> Described:
    """Images; the classes are those found, sorted."""
    return Described(Kind.IMAGE2D, (spec.shows.channels, *spec.size), cohort=spec.cohort)


def plan(spec: LabelledImageFolder, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every row of the table, or for every image in a class folder."""
    if spec.table is None:
        folders = ImageFolder(modality=spec.modality, size=spec.size, labels="folders", splits=spec.splits,
                              patient_pattern=spec.patient_pattern)  # fmt: skip
        yield from image_folder.plan(folders, raw)
        return
    if not raw.has(spec.table):
        raise BadInput(f"there is no table {spec.table}; add it, name another one by the parameter table, or give "
                       "null: then the folder that holds an image is its class", "recipe/table")  # fmt: skip
    said: dict[str, tuple[str | None, ...]] = {}
    contradicted = set[str]()
    for found in _rows(spec, raw, spec.table):
        if isinstance(found, Item):
            told = (found.label, found.patient, found.split)
            if said.setdefault(found.name, told) != told:
                contradicted.add(found.name)
    for found in _rows(spec, raw, spec.table):
        if isinstance(found, Rejected):
            yield found
            continue
        is_first = said.pop(found.name, None) is not None
        if found.name not in contradicted:
            yield found if is_first else LeftOut(found.name, f"an earlier row of {spec.table} names it, too")
        elif is_first:
            yield Rejected(found.name, f"rows of {spec.table} give it different classes, patients or splits; keep one")


def _rows(spec: LabelledImageFolder, raw: Raw, table: str) -> Iterator[Item | Rejected]:
    """An item for every row of the table that has what is needed."""
    optional = [column for column in (spec.patient_column, spec.split_column) if column]
    for row in read_table(raw, table, [spec.file_column, spec.label_column, *optional]):
        path = str(PurePosixPath(table).parent / row[spec.file_column].strip())
        label = row[spec.label_column].strip()
        patient = row[spec.patient_column].strip() if spec.patient_column else patient_of(path, spec.patient_pattern)
        if not label:
            yield Rejected(path, f"the column {spec.label_column} of {table} is empty; expected a class name")
        elif spec.patient_column and not patient:
            yield Rejected(path, f"the column {spec.patient_column} of {table} is empty; expected a patient")
        elif isinstance(patient, Rejected):
            yield patient
        else:
            yield Item(path, (path,), patient=patient, split=_split(row, path, spec), label=label)


def make(spec: LabelledImageFolder, item: Item, raw: Raw) -> Iterator[Made]:
    """One image."""
    yield Made(fitted(read_image(raw.read(item.name), item.name), spec))


def fitted(image: NDArray[np.uint8], spec: LabelledImageFolder) -> NDArray[np.uint8]:
    """Colour and size of the recipe: uint8 (C, H, W), bicubic; serving does the same."""
    return fitted_image(image, spec.size, spec.shows.channels)


def _split(row: dict[str, str], path: str, spec: LabelledImageFolder) -> str | None:
    """The split of a row; an unknown name would leave held-out images to chance and is refused."""
    named = row[spec.split_column].strip() if spec.split_column else ""
    if named:
        if named.lower() not in SPLIT_NAMES:
            raise BadInput(
                f"the column {spec.split_column} holds '{named}'; expected train, val, test or nothing",
                spec.table or "",
            )
        return SPLIT_NAMES[named.lower()]
    return folder_split(path) if spec.splits.method == "folders" else None
