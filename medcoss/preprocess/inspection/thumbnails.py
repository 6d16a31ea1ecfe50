"""Small pictures of samples, with their masks."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 144
# soft tissue, as radiologists set it
_CT_WINDOW = (-160.0, 240.0)
_COLOURS = np.array([[230, 60, 50], [60, 190, 90], [70, 130, 240], [240, 190, 50], [180, 80, 220], [60, 200, 210]])
_ALPHA = 0.45
Bytes = NDArray[np.uint8]


def windowed(values: NDArray[Any], modality: str) -> Bytes:
    """Values as grey levels: CT (HU) in the soft tissue window, bytes as they are, else 1st to 99th percentile."""
    return values if values.dtype == np.uint8 else grey_levels(values, window_of(values, modality))


def window_of(values: NDArray[Any], modality: str) -> tuple[float, float] | None:
    """The values that are shown black and white; None when no value is finite."""
    # every few voxels tell the percentiles
    some = values.reshape(-1)[:: max(values.size // 200_000, 1)].astype(np.float64)
    some = some[np.isfinite(some)]
    if not some.size:
        return None
    if modality == "ct" and some.min() < -200:
        return _CT_WINDOW
    low, high = np.percentile(some, (1, 99))
    return float(low), float(high)


def grey_levels(values: NDArray[Any], window: tuple[float, float] | None) -> Bytes:
    """Values as bytes, from the low end of a window to its high end."""
    if window is None:
        return np.zeros(values.shape, np.uint8)
    low, high = window
    scaled = (np.nan_to_num(values.astype(np.float32), nan=low) - low) / max(high - low, 1e-9)
    return np.asarray(np.clip(np.rint(scaled * 255), 0, 255), np.uint8)


def _painted(grey: Bytes, labels: NDArray[Any] | None) -> Bytes:
    picture = np.repeat(grey[..., None], 3, axis=2) if grey.ndim == 2 else grey[..., :3]
    if labels is None:
        return picture
    colour = _COLOURS[(labels.astype(np.int64) - 1) % len(_COLOURS)]
    mixed = np.rint((1 - _ALPHA) * picture + _ALPHA * colour).astype(np.uint8)
    return np.where((labels > 0)[..., None], mixed, picture)


def _fitted(picture: Bytes, height: float, width: float) -> Image.Image:
    """On a black square, at the ratio of its size in mm."""
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    square = Image.new("RGB", (SIDE, SIDE))
    small = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR)
    square.paste(small, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return square


def _written(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def of_image(image: NDArray[Any], mask: NDArray[Any] | None, modality: str) -> str:
    """An image (H, W) or (H, W, 3) with its labels (H, W), as PNG in base64."""
    return _written(_fitted(_painted(windowed(image, modality), mask), *image.shape[:2]))


def of_volume(volume: NDArray[Any], modality: str, labels: NDArray[Any] | None, spacing: tuple[float, ...]) -> str:
    """The axial, coronal and sagittal slices through the middle, or through most of the labels, as PNG in base64.

    `volume` is (z, y, x) towards superior, posterior and left, `spacing` alike in mm. Superior is above; the patient's
    left is on the right of axial and coronal slices, anterior on the left of the sagittal one.
    """
    grey = windowed(volume, modality)
    places = [n // 2 for n in volume.shape]
    if labels is not None and (labels > 0).any():
        others = ((1, 2), (0, 2), (0, 1))
        places = [int((labels > 0).sum(axis=axes).argmax()) for axes in others]
    extent = [n * s for n, s in zip(volume.shape, spacing, strict=True)]
    row = Image.new("RGB", (3 * SIDE, SIDE))
    for axis, place in enumerate(places):
        plane = np.take(grey, place, axis)
        marked = None if labels is None else np.take(labels, place, axis)
        picture = _painted(plane, marked)
        height, width = (extent[i] for i in range(3) if i != axis)
        row.paste(_fitted(picture[::-1] if axis else picture, height, width), (axis * SIDE, 0))
    return _written(row)
