"""Label maps of volumes: on the same grid, in the same place, with the values that are expected."""

import itertools
import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.preprocess.io import read_volume
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.volumes import to_lps
from medcoss.run import BadInput


def read_label_map(raw: Raw, path: str, image: sitk.Image, known: int, hint: str = "") -> NDArray[np.uint8]:
    """The label map (z, y, x) of `image` in LPS order. Raises BadInput with `hint` for values but 0 .. `known`."""
    label = read_volume(raw.read(path), path)
    if label.GetSize() != image.GetSize():
        raise BadInput(
            f"the label map has {label.GetSize()} voxels, its volume {image.GetSize()}; expected the same grid", path
        )
    if _offset_mm(label, image) > min(image.GetSpacing()) / 2:
        raise BadInput(
            "the label map lies elsewhere than its volume (origin, spacing or direction differ); expected the same "
            "grid: copy the volume's geometry only if the voxels really match",
            path,
        )
    label.CopyInformation(image)
    values = sitk.GetArrayFromImage(to_lps(label))
    found = np.unique(values)
    if found.min() < 0 or found.max() > known or not np.array_equal(found, np.round(found)):
        raise BadInput(
            f"the label map holds the values {', '.join(f'{v:g}' for v in found[:8])}; expected whole numbers "
            f"0 to {known}{hint}",
            path,
        )
    return values.astype(np.uint8)


def _offset_mm(label: sitk.Image, image: sitk.Image) -> float:
    """Largest distance in mm between the places of a corner in two images of the same size."""
    corners = itertools.product(*((0, n - 1) for n in image.GetSize()))
    pairs = [[i.TransformIndexToPhysicalPoint(corner) for i in (label, image)] for corner in corners]
    return max(math.dist(*pair) for pair in pairs)
