"""From the grid of the samples back to that of the image or volume that they were made of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcoss.data.originals import Original, Placement
from medcoss.preprocess.resampling import resize_linear

Array = NDArray[np.float32]


def centred(array: NDArray[Any], height: int, width: int, fill: float) -> NDArray[Any]:
    """The inner `height` x `width` of the last two axes, padded where there is less; going back undoes the padding."""
    for axis, size in ((array.ndim - 2, height), (array.ndim - 1, width)):
        less = array.shape[axis] - size
        if less > 0:
            array = array.take(np.arange(less // 2, less // 2 + size), axis)
        elif less < 0:
            around = [(0, 0)] * array.ndim
            around[axis] = (-less // 2, -less - -less // 2)
            array = np.pad(array, around, constant_values=fill)
    return array


def whole_image(mask: NDArray[np.uint8], size: tuple[int, int]) -> Original:
    """The original of an image whose mask (K, H, W) was resized to `size` (height, width) as a whole."""
    shape = mask.shape[1:]
    return Original(Placement(shape, (1.0, 1.0), (0, 0), shape, size), mask > 0)


def restored(array: Array, to: Placement, fill: float = 0.0) -> Array:
    """An image (H, W) or a volume (D, H, W) on the grid of the samples, linearly resampled to its original's.

    `fill` is what is outside of the samples. The padding of slices is cut off.
    """
    *_, height, width = to.resampled
    inner = centred(array, height, width, fill)
    # images are volumes of one slice
    volume, size = inner.reshape(-1, height, width), (1, *to.size)[-3:]
    same = to.resampled == to.size
    found = volume if same else resize_linear(volume, (size[0], size[1], size[2]))
    result = np.full(to.shape, fill, np.float32)
    box = tuple(slice(start, start + n) for start, n in zip(to.start, to.size, strict=True))
    result[box] = found.reshape(to.size)
    return result
