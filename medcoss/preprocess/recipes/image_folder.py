"""Any folder of images: class folders make labels, a file-name suffix marks masks.

Expected layout: `[train|validation|test]/[class]/image.{png,jpg,tif,dcm}`, every folder
level optional. Samples are uint8 (1, H, W) for X-ray and (3, H, W) for pathology; masks
uint8 (1, H, W) with 1 where the mask image is not black.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import fitted_image, fitted_mask
from medcoss.preprocess.io import read_image, read_mask
from medcoss.preprocess.patients import patient_of
from medcoss.preprocess.placement import whole_image
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.run import BadInput
from medcoss.specs.names import IMAGE_SUFFIXES, class_of
from medcoss.specs.recipes.image_folder import ImageFolder


def describe(spec: ImageFolder) -> Described:
    """Images, with classes from folders or one mask channel."""
    return Described(
        Kind.IMAGE2D, (spec.shows.channels, *spec.size),
        classes=("foreground",) if spec.mask_suffix else None, has_masks=bool(spec.mask_suffix),
        cohort=spec.cohort,
    )  # fmt: skip


def plan(spec: ImageFolder, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every image that is not a mask."""
    for path in raw.files(spec.suffixes):
        if spec.mask_suffix and _stem(path).endswith(spec.mask_suffix):
            continue
        label = class_of(path) if spec.labels == "folders" else None
        if spec.labels == "folders" and label is None:
            yield Rejected(path, "the image lies in no class folder; expected <split>/<class>/image, or labels 'none'")
            continue
        patient = patient_of(path, spec.patient_pattern)
        if isinstance(patient, Rejected):
            yield patient
            continue
        split = folder_split(path) if spec.splits.method == "folders" else None
        yield Item(path, files=(path, *_mask_of(path, spec, raw)), patient=patient, split=split, label=label)


def make(spec: ImageFolder, item: Item, raw: Raw) -> Iterator[Made]:
    """One sample, with its mask where masks are asked for."""
    path, *masks = item.files
    if spec.mask_suffix and not masks:
        raise BadInput(f"there is no mask with the suffix '{spec.mask_suffix}' beside it", path)
    image = read_image(raw.read(path), path)
    if not masks:
        yield Made(fitted(image, spec))
        return
    truth = read_mask(raw.read(masks[0]), masks[0])
    small, own = (fitted_mask(truth, image.shape, size, masks[0]) for size in (spec.size, image.shape[:2]))
    yield Made(fitted(image, spec), small, original=whole_image(own, spec.size))


def fitted(image: NDArray[np.uint8], recipe: ImageFolder) -> NDArray[np.uint8]:
    """Colour and size of the recipe: uint8 (C, H, W), bicubic."""
    return fitted_image(image, recipe.size, recipe.shows.channels)


def _stem(path: str) -> str:
    return path[: path.rfind(".")]


def _mask_of(path: str, spec: ImageFolder, raw: Raw) -> tuple[str, ...]:
    """The mask beside an image, if masks are asked for and there is one."""
    if not spec.mask_suffix:
        return ()
    names = (_stem(path) + spec.mask_suffix + ending for ending in IMAGE_SUFFIXES)
    return next(((name,) for name in names if raw.has(name)), ())
