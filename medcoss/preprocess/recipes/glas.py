"""GlaS: gland segmentation in colon histology (Sirinukunwattana et al., MICCAI 2015, Warwick QU dataset).

Expected layout: `Grade.csv` with the columns name and patient ID, and beside it or anywhere below `train_1.bmp` with
`train_1_anno.bmp`, `testA_1.bmp`, `testB_1.bmp` and so on. The names give the split: train, or test for both test
sets; the table the patient. Some patients of test A stand in the training set, too, of which the report warns.

Samples are uint8 (3, H, W), RGB, bilinear, 512 x 512 pixels by default, with a mask uint8 (1, H, W), nearest, 1 in
every gland (annotations number the glands of an image).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image, fitted_mask
from medcoss.preprocess.io import read_image, read_mask
from medcoss.preprocess.placement import whole_image
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.tables import read_table
from medcoss.run import BadInput
from medcoss.specs.recipes.glas import Glas

GRADES, ANNOTATION = "Grade.csv", "_anno.bmp"
_NAME = re.compile(r"(train|test)[AB]?_\d+")


def describe(spec: Glas) -> Described:
    """Colour images with one mask channel."""
    return Described(Kind.IMAGE2D, (3, *spec.size), classes=("gland",), has_masks=True)


def plan(spec: Glas, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every image."""
    patients = _patients(raw)
    # their training images stay in train: val would share the patients of test
    tested = {patient for name, patient in patients.items() if name.startswith("test")}
    for path in raw.files(spec.suffixes):
        if path.endswith(ANNOTATION):
            continue
        name = PurePosixPath(path).stem
        match = _NAME.fullmatch(name)
        if match is None:
            yield Rejected(path, "expected a name such as train_1.bmp, testA_1.bmp or testB_1.bmp")
        elif name not in patients:
            yield Rejected(path, f"{GRADES} has no row of this name, which gives the patient")
        else:
            annotation = path[: -len(".bmp")] + ANNOTATION
            divided = spec.val_fraction and match[1] == "train" and patients[name] not in tested
            yield Item(path, (path, annotation), patient=patients[name], split=None if divided else match[1])


def make(spec: Glas, item: Item, raw: Raw) -> Iterator[Made]:
    """One image with its mask."""
    path, annotation = item.files
    if not raw.has(annotation):
        raise BadInput(f"there is no annotation {annotation}", path)
    image, glands = read_image(raw.read(path), path), read_mask(raw.read(annotation), annotation)
    mask, own = (fitted_mask(glands, image.shape, size, annotation) for size in (spec.size, image.shape[:2]))
    yield Made(fitted(image, spec), mask, original=whole_image(own, spec.size))


def fitted(image: NDArray[np.uint8], spec: Glas) -> NDArray[np.uint8]:
    """In colour and of the recipe's size: uint8 (3, H, W), bilinear; serving does the same."""
    return fitted_image(image, spec.size, 3, Image.Resampling.BILINEAR)


def _patients(raw: Raw) -> dict[str, str]:
    """Patients by the names of images; the published table has blanks around names and headings."""
    table = next((path for path in raw.files((".csv",)) if PurePosixPath(path).name == GRADES), None)
    if table is None:
        raise BadInput(f"there is no {GRADES}, which gives the patients; add it to the dataset", "dataset")
    rows = ({key.strip(): value.strip() for key, value in row.items()} for row in read_table(raw, table, ["name"]))
    return {row["name"]: _patient(row, table) for row in rows}


def _patient(row: dict[str, str], table: str) -> str:
    if not row.get("patient ID"):
        raise BadInput(f"the row {row['name']} has no patient ID; expected the table as published", table)
    return row["patient ID"]
