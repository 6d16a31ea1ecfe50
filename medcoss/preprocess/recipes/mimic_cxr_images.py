"""Frontal chest radiographs of MIMIC-CXR 2.0 (https://physionet.org/content/mimic-cxr-jpg/, credentialed licence).

Expected layout, at any depth: `files/p10/p10000032/s50414267/<dicom id>.jpg` (MIMIC-CXR-JPG) or `.dcm` (MIMIC-CXR)
and `mimic-cxr-2.0.0-split.csv.gz`, `mimic-cxr-2.0.0-metadata.csv.gz` (gzipped or not), or MGCA's `master.csv` instead
of the two.

DICOM images are windowed (VOI LUT) and MONOCHROME1 is inverted. Images that are not PA or AP are left out, and so is
the second image of a DICOM id. Splits are the published ones, the patient is the subject, as in the recipe
mimic_cxr_reports. Samples are uint8 (1, H, W), grey, bicubic; 224 x 224 pixels by default.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.mimic_cxr import COHORT, radiographs
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.specs.recipes.mimic_cxr_images import MimicCxrImages


def describe(spec: MimicCxrImages) -> Described:
    """Grey images."""
    return Described(Kind.IMAGE2D, (1, *spec.size), cohort=COHORT)


def plan(spec: MimicCxrImages, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every frontal image."""
    known = {image.dicom: (image.subject, image.split, image.frontal) for image in radiographs(raw)}
    taken = set[str]()
    for path in raw.files(spec.suffixes):
        dicom = PurePosixPath(path).stem
        if dicom not in known:
            yield Rejected(path, "in no row of the split and metadata tables; expected a file named by its dicom_id")
            continue
        subject, split, frontal = known[dicom]
        if not frontal:
            yield LeftOut(path, "not a frontal view (PA or AP)")
        elif dicom in taken:
            yield LeftOut(path, "an image of the same dicom_id stands before it")
        else:
            taken.add(dicom)
            yield Item(path, (path,), patient=subject, split=split)


def make(spec: MimicCxrImages, item: Item, raw: Raw) -> Iterator[Made]:
    """One image."""
    yield Made(fitted(read_image(raw.read(item.name), item.name), spec))


def fitted(image: NDArray[np.uint8], spec: MimicCxrImages) -> NDArray[np.uint8]:
    """Grey and of the recipe's size: uint8 (1, H, W), bicubic; serving does the same."""
    return fitted_image(image, spec.size, 1)
