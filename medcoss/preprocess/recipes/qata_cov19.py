"""QaTa-COV19: radiographs with masks of COVID-19 pneumonia (Degerli et al., Kaggle aysendegerli/qatacov19-dataset).

Expected layout (version 2): `Train Set/Images/<name>.png` with `Train Set/Ground-truths/mask_<name>.png`, and the same
in `Test Set`, at any depth. The test set is test; the training set is divided 80 to 20 into train and val by a hash
keyed by the job's seed, 0 unless another is asked for, never within a patient. The patient is the BIDS subject of names
such as `sub-S09345_ses-E18065_run-1_bp-chest_vp-ap_dx.png`; of other names (`covid_12.png`) it is not known, the
content of the image stands for it. Training images of a patient who stands in the test set are left out.

Samples are uint8 (1, H, W), grey, bicubic, 224 x 224 pixels by default, with a mask uint8 (1, H, W), nearest, 1 where
the ground truth is above 120.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image, fitted_mask
from medcoss.preprocess.io import read_image, read_mask
from medcoss.preprocess.placement import whole_image
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.run import BadInput
from medcoss.specs.recipes.qata_cov19 import QataCov19

SETS = {"train set": None, "test set": "test"}
MASKS, PREFIX, ABOVE = "Ground-truths", "mask_", 120
_SUBJECT = re.compile(r"(sub-[A-Za-z0-9]+)_")


def describe(spec: QataCov19) -> Described:
    """Grey images with one mask channel."""
    return Described(Kind.IMAGE2D, (1, *spec.size), classes=("infection",), has_masks=True)


def plan(spec: QataCov19, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every image of the two sets."""
    tested = {_patient(path) for path in raw.files(spec.suffixes) if _set_of(path) == "test set"} - {None}
    for path in raw.files(spec.suffixes):
        place = PurePosixPath(path)
        if place.parent.name == MASKS:
            continue
        which, patient = _set_of(path), _patient(path)
        if which is None or place.parent.name != "Images":
            yield Rejected(path, "expected 'Train Set/Images/<name>.png' or 'Test Set/Images/<name>.png'")
        elif which == "train set" and patient in tested:
            yield LeftOut(path, "another image of the patient stands in the test set")
        else:
            mask = str(place.parent.with_name(MASKS) / f"{PREFIX}{place.name}")
            yield Item(path, (path, mask), patient=patient, split=SETS[which])


def make(spec: QataCov19, item: Item, raw: Raw) -> Iterator[Made]:
    """One image with its mask."""
    path, mask = item.files
    if not raw.has(mask):
        raise BadInput(f"there is no ground truth {mask}", path)
    image = read_image(raw.read(path), path)
    truth = read_mask(raw.read(mask), mask)
    small, own = (fitted_mask(truth, image.shape, size, mask, ABOVE) for size in (spec.size, image.shape[:2]))
    yield Made(fitted(image, spec), small, original=whole_image(own, spec.size))


def fitted(image: NDArray[np.uint8], spec: QataCov19) -> NDArray[np.uint8]:
    """Grey and of the recipe's size: uint8 (1, H, W), bicubic; serving does the same."""
    return fitted_image(image, spec.size, 1)


def _set_of(path: str) -> str | None:
    folders = (folder.lower() for folder in PurePosixPath(path).parts[:-1])
    return next((folder for folder in folders if folder in SETS), None)


def _patient(path: str) -> str | None:
    found = _SUBJECT.match(PurePosixPath(path).name.removeprefix(PREFIX))
    return found[1] if found else None
