"""Colorectal cancer histology, nine tissue classes (Kather et al., https://zenodo.org/records/1214456, CC BY 4.0).

Expected layout: `NCT-CRC-HE-100K/<class>/*.tif` (or `NCT-CRC-HE-100K-NONORM`), which is train, and
`CRC-VAL-HE-7K/<class>/*.tif`, which is test, with the nine class folders ADI, BACK, DEB, LYM, MUC, MUS, NORM, STR and
TUM. Samples are uint8 (3, H, W), RGB (with `published` BGR), 224 x 224 pixels as the tiles are, with a class. Patients
are not told by the files (the two sets share none): the content of a tile stands for its patient, and
`val_fraction` of the training tiles in val may show patients of others in train.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.specs.recipes.nct_crc_he import NctCrcHe

CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
SETS = {"NCT-CRC-HE-100K": "train", "NCT-CRC-HE-100K-NONORM": "train", "CRC-VAL-HE-7K": "test"}


def describe(spec: NctCrcHe) -> Described:
    """Colour tiles of nine classes."""
    return Described(Kind.IMAGE2D, (3, *spec.size), classes=CLASSES)


def plan(spec: NctCrcHe, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every tile in a class folder of one of the sets."""
    for path in raw.files(spec.suffixes):
        folders = PurePosixPath(path).parts[:-1]
        split = next((SETS[folder] for folder in folders if folder in SETS), None)
        if split is None or folders[-1] not in CLASSES:
            yield Rejected(path, f"lies in no class folder of the dataset; expected {' or '.join(SETS)}, and in it one "
                           f"of {', '.join(CLASSES)}")  # fmt: skip
        else:
            # left open, a share of it goes to val
            published = None if spec.val_fraction and split == "train" else split
            yield Item(path, (path,), split=published, label=folders[-1])


def make(spec: NctCrcHe, item: Item, raw: Raw) -> Iterator[Made]:
    """One tile."""
    yield Made(fitted(read_image(raw.read(item.name), item.name), spec))


def fitted(image: NDArray[np.uint8], spec: NctCrcHe) -> NDArray[np.uint8]:
    """In colour and of the recipe's size: uint8 (3, H, W), bicubic; serving does the same."""
    planes = fitted_image(image, spec.size, 3)
    return np.ascontiguousarray(planes[::-1]) if spec.published else planes
