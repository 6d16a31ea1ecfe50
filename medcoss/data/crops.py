"""Random windows of samples that are larger than what a model sees at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
# share of the windows that hold a labelled voxel for certain, as in nnU-Net (Isensee et al., 2021)
FOREGROUND = 1 / 3


def random_window(image: Array, mask: NDArray[np.uint8], size: tuple[int, ...], rng: np.random.Generator
                  ) -> tuple[Array, NDArray[np.uint8]]:  # fmt: skip
    """A window of `size` of an image (C, ...) and its mask (K, ...), which stay as they are if they have that size.

    A third of the windows have a voxel of a random class in their middle, as far as the borders allow; the others lie
    anywhere. What is smaller is padded around, the image by its lowest value.
    """
    shape = image.shape[1:]
    if shape == size:
        return image, mask
    spare = [max(n - w, 0) for n, w in zip(shape, size, strict=True)]
    start = [int(rng.integers(0, most + 1)) for most in spare]
    labelled = [channel for channel in mask if channel.any()]
    if labelled and rng.random() < FOREGROUND:
        voxels = np.flatnonzero(labelled[int(rng.integers(len(labelled)))])
        middle = np.unravel_index(int(rng.choice(voxels)), shape)
        start = [min(max(int(m) - w // 2, 0), most) for m, w, most in zip(middle, size, spare, strict=True)]
    box = (slice(None), *(slice(first, first + w) for first, w in zip(start, size, strict=True)))
    return _padded(image[box], size, float(image.min())), _padded(mask[box], size, 0)


def _padded(array: NDArray[Any], size: tuple[int, ...], fill: float) -> NDArray[Any]:
    missing = [w - n for n, w in zip(array.shape[1:], size, strict=True)]
    if not any(missing):
        return np.ascontiguousarray(array)
    return np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in missing)], constant_values=fill)
