"""Resizing of volumes as a product with one matrix an axis.

Spline resizing is linear and separable: low-pass filter, spline prefilter and interpolation of an axis are one
matrix (new, old) that depends on the two lengths alone. It is made once by scikit-image (or written down, for
linear interpolation), kept, and applied by matrix products, many times faster than interpolation voxel by voxel.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from skimage.transform import resize

Floats = NDArray[np.floating]
Size = tuple[int, int, int]


@lru_cache(maxsize=256)
def cubic_matrix(old: int, new: int, mode: Literal["reflect", "edge"] = "reflect", low_pass: bool = True
                 ) -> NDArray[np.float64]:  # fmt: skip
    """Matrix (new, old) of scikit-image's cubic `resize` along an axis, corners aligned to corners.

    Behind the edges values are mirrored (`reflect`) or repeated (`edge`); an axis that shrinks goes through a Gaussian
    before, unless `low_pass` is False.
    """
    matrix = resize(np.eye(old), (new, old), order=3, mode=mode, clip=False, anti_aliasing=low_pass and new < old)
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=256)
def linear_matrix(old: int, new: int) -> NDArray[np.float64]:
    """Matrix (new, old) of linear interpolation along an axis, corners aligned to corners, edges repeated."""
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    below = np.minimum(places.astype(int), max(old - 2, 0))
    matrix = np.zeros((new, old))
    rows = np.arange(new)
    matrix[rows, below] = 1 - (places - below)
    matrix[rows, np.minimum(below + 1, old - 1)] += places - below
    matrix.flags.writeable = False
    return matrix


def resize_cubic(volume: NDArray[np.number], size: Size, precision: type[np.floating] = np.float32) -> Floats:
    """A volume (z, y, x) on `size` voxels, as scikit-image's `resize` with order 3 gives it, in `precision`.

    The result keeps to the range of the input, as there. In float32 the two differ by less than 1e-5 of the
    largest absolute value of the input.
    """
    matrices = [cubic_matrix(old, new) for old, new in zip(volume.shape, size, strict=True)]
    found = multiplied(volume, matrices, precision)
    return np.clip(found, volume.min(), volume.max(), out=found)


def resize_linear(volume: NDArray[np.number], size: Size) -> NDArray[np.float32]:
    """A volume (z, y, x) on `size` voxels, linear, float32."""
    return multiplied(volume, [linear_matrix(old, new) for old, new in zip(volume.shape, size, strict=True)])


def multiplied(volume: NDArray[np.number], matrices: Sequence[NDArray[np.float64]],
               precision: type[np.floating] = np.float32) -> Floats:  # fmt: skip
    """A volume (z, y, x) with each axis multiplied by its matrix (new, old), in `precision`.

    Those that shrink most come first; a square matrix stands for an axis that stays as it is.
    """
    found = np.array(volume, precision)
    for axis in sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1]):
        matrix = matrices[axis]
        if matrix.shape[0] != matrix.shape[1]:
            found = _along(found, matrix.astype(precision), axis)
    return found


def _along(volume: Floats, matrix: Floats, axis: int) -> Floats:
    depth, height, width = volume.shape
    if axis == 0:
        return (matrix @ volume.reshape(depth, -1)).reshape(-1, height, width)
    if axis == 1:
        # many small products: a band of some 25 entries a row beats a dense matrix there
        band = csr_array(np.where(np.abs(matrix) > np.finfo(matrix.dtype).eps / 2, matrix, 0))
        return np.stack([band @ plane for plane in volume])
    return (volume.reshape(-1, width) @ matrix.T).reshape(depth, height, -1)
