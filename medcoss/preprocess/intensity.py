"""Intensity and colour rules of images and downstream volumes, as MedCoSS (Ye et al., CVPR 2024) sets them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]
# what OpenCV's PNG reader weighs red, green and blue with, of 32768, without rounding
_PNG_GREY = np.array([9797, 19234, 3737])


def grey(image: NDArray[np.uint8], published: bool = False) -> NDArray[np.uint8]:
    """Luminance (ITU-R 601) of an RGB image (H, W, 3), rounded.

    Published: truncated, as OpenCV reads a colour PNG as grey.
    """
    if published:
        return ((image.astype(np.int64) @ _PNG_GREY) >> 15).astype(np.uint8)
    return np.asarray(Image.fromarray(image).convert("L"))


def colour_planes(image: NDArray[np.uint8], published: bool = False) -> NDArray[np.uint8]:
    """Channels (3, H, W) of an RGB image (H, W, 3), red first.

    Published: blue first, as OpenCV reads it.
    """
    return np.ascontiguousarray((image[..., ::-1] if published else image).transpose(2, 0, 1))


def zscore(image: NDArray[Any]) -> Array:
    """Each channel of (C, ...) less its mean, over its population standard deviation; a constant one becomes 0."""
    channels = [np.ascontiguousarray(channel, np.float32) for channel in image]
    return np.stack([(c - c.mean()) / c.std() if c.min() < c.max() else np.zeros_like(c) for c in channels])


def ricord(hounsfield: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intensities of the RICORD classifier: clipped to [-1024, 325] HU, centred and scaled."""
    return (np.clip(hounsfield, -1024, 325) - 158.58) / 324.70


def lits(hounsfield: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intensities of the LiTS segmenter: clipped to [-325, 325] HU, in [-1, 1]."""
    return np.clip(hounsfield, -325, 325) / 325


def lits_channels(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Targets (2, ...) of LiTS label maps: the liver with its tumours (label 1 or 2), the tumours (label 2)."""
    return np.stack([labels >= 1, labels == 2]).astype(np.uint8)
