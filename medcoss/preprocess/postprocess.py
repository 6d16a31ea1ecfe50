"""Post-processing of predicted masks by what is known of the structures (specs: `medcoss.specs.postprocess`)."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.specs.postprocess import LargestComponent, PostProcessing, RemoveSmall, Within

Mask = NDArray[np.bool_]


def postprocessed(masks: Mask, classes: Sequence[str], steps: Sequence[PostProcessing], spacing: Sequence[float]
                  ) -> Mask:  # fmt: skip
    """Masks (K, ...) of `classes` after the steps, one after the other; `spacing` in mm, 1 for pixels.

    Parts are connected through faces, edges and corners, as in nnU-Net. Every class of the steps has to be there.
    """
    found = masks.copy()
    for step in steps:
        place, *organ = (classes.index(ref) if isinstance(ref, str) else ref for ref in step.classes)
        if isinstance(step, LargestComponent):
            found[place] = largest_component(found[place])
        elif isinstance(step, RemoveSmall):
            found[place] = without_small(found[place], step.below / float(np.prod(spacing)))
        elif isinstance(step, Within):
            found[place] &= found[organ[0]]
    return found


def largest_component(mask: Mask) -> Mask:
    """The part with most voxels; of equal ones the first in the array's order."""
    return _kept(mask, lambda sizes: np.arange(len(sizes)) == sizes.argmax())


def without_small(mask: Mask, voxels: float) -> Mask:
    """The parts of at least so many voxels."""
    # a volume that is given as a product of spacings is not exact
    return _kept(mask, lambda sizes: sizes >= voxels * (1 - 1e-6))


def _kept(mask: Mask, chosen: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> Mask:
    """The parts whose sizes in voxels are chosen."""
    result = np.zeros_like(mask)
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    if not boxes:
        return result
    # parts are numbered within the box of all: a lesion fills little of its volume
    box = boxes[0]
    labels, _ = ndimage.label(mask[box], np.ones((3,) * mask.ndim))
    sizes = np.bincount(labels.ravel())[1:]
    result[box] = np.concatenate([[False], chosen(sizes)])[labels]
    return result
