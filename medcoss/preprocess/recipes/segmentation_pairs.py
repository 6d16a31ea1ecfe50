"""Any images with masks.

Expected layout: `[train|validation|test]/images/name.{png,jpg,tif,bmp,dcm}` and, of the same size,
`[train|validation|test]/masks/name.png`; every level above `images` is optional, folders below it are the same in both.

Samples are uint8 (1, H, W) for X-ray and (3, H, W) for pathology, bicubic, 224 x 224 pixels by default, with a mask
uint8 (K, H, W), nearest, one channel for each of `label_names`: a mask with one name is any image, 1 where it is not
black; masks with more are grey images, 8 or 16 bit, of the values 0 to K. Patients are found by
`patient_pattern`; without it the content of an image stands for its patient.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.images import Labels, check_same_size, fitted_image, fitted_mask, resized_labels
from medcoss.preprocess.io import read_image, read_mask
from medcoss.preprocess.patients import patient_of
from medcoss.preprocess.placement import whole_image
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.run import BadInput
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.segmentation_pairs import SegmentationPairs

Bytes = NDArray[np.uint8]


def describe(spec: SegmentationPairs) -> Described:
    """Images with a mask channel for each label."""
    channels = spec.shows.channels
    return Described(Kind.IMAGE2D, (channels, *spec.size), classes=spec.label_names, has_masks=True, cohort=spec.cohort)


def plan(spec: SegmentationPairs, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every image below a folder of images."""
    for path in raw.files(spec.suffixes):
        folders = PurePosixPath(path).parts[:-1]
        if spec.mask_folder in folders:
            continue
        if spec.image_folder not in folders:
            yield Rejected(path, f"lies in no folder {spec.image_folder}; expected {spec.image_folder}/<image> with "
                           f"{spec.mask_folder}/<image> beside it")  # fmt: skip
            continue
        last = max([path, *raw.named(str(PurePosixPath(path).with_suffix("")), IMAGE_SUFFIXES)])
        if path != last:
            yield Rejected(path, f"{last} has the same name and so the same mask; keep one of them")
            continue
        patient = patient_of(path, spec.patient_pattern)
        if isinstance(patient, Rejected):
            yield patient
            continue
        split = folder_split(path) if spec.splits.method == "folders" else None
        yield Item(path, (path, *_masks_of(path, spec, raw)), patient=patient, split=split)


def make(spec: SegmentationPairs, item: Item, raw: Raw) -> Iterator[Made]:
    """One image with its mask."""
    path, *masks = item.files
    if not masks:
        raise BadInput(f"there is no mask of its name in the folder {spec.mask_folder} beside it", path)
    if len(masks) > 1:
        raise BadInput(f"{masks[1]} has the same name; keep one mask of an image", masks[0])
    image, mask = read_image(raw.read(path), path), read_mask(raw.read(masks[0]), masks[0])
    small, own = (_channels(mask, image.shape, spec, masks[0], size) for size in (spec.size, image.shape[:2]))
    yield Made(fitted(image, spec), small, original=whole_image(own, spec.size))


def fitted(image: Bytes, spec: SegmentationPairs) -> Bytes:
    """Colour and size of the recipe: uint8 (C, H, W), bicubic; serving does the same."""
    return fitted_image(image, spec.size, spec.shows.channels)


def _channels(mask: Labels, shape: tuple[int, ...], spec: SegmentationPairs, path: str, size: tuple[int, int]
              ) -> Bytes:  # fmt: skip
    """A channel for each label: uint8 (K, H, W) of `size` (height, width)."""
    labels = len(spec.label_names)
    if labels == 1:
        return fitted_mask(mask, shape, size, path)
    check_same_size(mask, shape, path)
    if mask.ndim == 3:
        raise BadInput(f"the mask is a colour image; expected a grey one of the values 0 to {labels}", path)
    found = np.unique(mask)
    if found[-1] > labels:
        raise BadInput(
            f"the mask holds the values {', '.join(map(str, found[:8]))}; expected 0 to {labels} (label_names has "
            f"{labels} entries)",
            path,
        )
    resized = resized_labels(mask.astype(np.uint8), size)
    return np.stack([resized == value for value in range(1, labels + 1)]).astype(np.uint8)


def _masks_of(path: str, spec: SegmentationPairs, raw: Raw) -> tuple[str, ...]:
    """The masks of an image: none, one or, which is an error, several."""
    parts = list(PurePosixPath(path).parts)
    # the innermost folder of this name: one above may be called so, too
    parts[len(parts) - 2 - parts[:-1][::-1].index(spec.image_folder)] = spec.mask_folder
    stem = PurePosixPath(*parts).with_suffix("")
    return tuple(raw.named(f"{stem}{spec.mask_suffix}", IMAGE_SUFFIXES))
