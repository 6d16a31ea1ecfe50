"""Images and masks of any size to those of a dataset: what the image recipes share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcoss.run import BadInput

Bytes = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]


def fitted_image(
    image: Bytes, size: tuple[int, int], channels: int, by: Image.Resampling = Image.Resampling.BICUBIC
) -> Bytes:
    """(H, W) grey or (H, W, 3) RGB as uint8 (1, H, W) grey or (3, H, W) RGB of `size` (height, width)."""
    mode = "L" if channels == 1 else "RGB"
    resized = np.asarray(Image.fromarray(image).convert(mode).resize(size[::-1], by))
    return resized[None] if resized.ndim == 2 else np.ascontiguousarray(resized.transpose(2, 0, 1))


def fitted_mask(mask: Labels, shape: tuple[int, ...], size: tuple[int, int], path: str, above: int = 0) -> Bytes:
    """(1, H, W) of `size` (height, width), 1 where any channel is more than `above`.

    Raises BadInput naming `path` when the mask has another size than its image, of `shape` (H, W, ...).
    """
    check_same_size(mask, shape, path)
    grey = mask if mask.ndim == 2 else mask.max(axis=2)
    return resized_labels((grey > above).astype(np.uint8), size)[None]


def check_same_size(mask: Labels, shape: tuple[int, ...], path: str) -> None:
    """Raise BadInput naming `path` when the mask has another size than its image, of `shape` (H, W, ...)."""
    if mask.shape[:2] != shape[:2]:
        raise BadInput(
            f"the mask is {mask.shape[0]} x {mask.shape[1]} pixels, its image {shape[0]} x {shape[1]}; "
            "expected the same size",
            path,
        )


def resized_labels(labels: Bytes, size: tuple[int, int]) -> Bytes:
    """Label values (H, W) on `size` (height, width), the nearest one, none invented."""
    return np.asarray(Image.fromarray(labels).resize(size[::-1], Image.Resampling.NEAREST))
