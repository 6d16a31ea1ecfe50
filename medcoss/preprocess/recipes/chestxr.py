"""ChestXR: COVID-19, pneumonia and normal radiographs (Akhloufi and Chetoui, https://cxr-covid19.grand-challenge.org/).

Expected layout: `train/{covid,normal,pneumonia}/*.png` or `.jpg`, `validation/...` likewise and `test/...` likewise or,
as in the challenge, without class folders: such images have no label and are left out. Samples are uint8 (1, H, W),
grey, bicubic, 224 x 224 pixels by default, with a class. Patients are not known: the content of an image stands for
its patient.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.specs.names import class_of
from medcoss.specs.recipes.chestxr import ChestXr

CLASSES = ("covid", "normal", "pneumonia")


def describe(spec: ChestXr) -> Described:
    """Grey images of three classes."""
    return Described(Kind.IMAGE2D, (1, *spec.size), classes=CLASSES)


def plan(spec: ChestXr, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every image in a class folder."""
    for path in raw.files(spec.suffixes):
        label, split = (class_of(path) or "").lower(), folder_split(path)
        if label in CLASSES:
            yield Item(path, (path,), split=split, label=label)
        elif not label and split == "test":
            yield LeftOut(path, "an image of the test set without a class")
        else:
            yield Rejected(path, "lies in no class folder; expected <split>/covid, <split>/normal or <split>/pneumonia")


def make(spec: ChestXr, item: Item, raw: Raw) -> Iterator[Made]:
    """One image."""
    yield Made(fitted(read_image(raw.read(item.name), item.name), spec))


def fitted(image: NDArray[np.uint8], spec: ChestXr) -> NDArray[np.uint8]:
    """Grey and of the recipe's size: uint8 (1, H, W), bicubic; serving does the same."""
    return fitted_image(image, spec.size, 1)
