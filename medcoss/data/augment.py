"""Augmentations on numpy arrays: random resized crops, mirroring, intensity."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float32]


def _resized_crop(channel: Array, box: tuple[float, float, float, float], resample: Image.Resampling) -> Array:
    height, width = channel.shape
    return np.asarray(Image.fromarray(channel).resize((width, height), resample, box=box))


def random_resized_crop(
    image: Array, rng: np.random.Generator, scale: tuple[float, float], mask: NDArray[np.uint8] | None = None
) -> tuple[Array, NDArray[np.uint8] | None]:
    """Cut a random window of `scale` of the area and of aspect 3/4 to 4/3 and resize it to the full size.

    `image` (C, H, W) is resampled bicubically and kept in its range, `mask` (K, H, W) by nearest neighbour.
    """
    _, height, width = image.shape
    area = rng.uniform(*scale) * height * width
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
    crop_h = min(float(np.sqrt(area / ratio)), height)
    crop_w = min(float(np.sqrt(area * ratio)), width)
    top, left = rng.uniform(0, height - crop_h), rng.uniform(0, width - crop_w)
    box = (left, top, left + crop_w, top + crop_h)
    out = np.stack([_resized_crop(c, box, Image.Resampling.BICUBIC) for c in image])
    out = np.clip(out, image.min(), image.max())
    if mask is not None:
        mask = np.stack([_resized_crop(c, box, Image.Resampling.NEAREST) for c in mask])  # type: ignore[arg-type]
    return out, mask


def augment_image(
    image: Array,
    rng: np.random.Generator,
    mask: NDArray[np.uint8] | None = None,
    scale: tuple[float, float] = (0.2, 1.0),
) -> tuple[Array, NDArray[np.uint8] | None]:
    """Random resized crop and horizontal mirroring of an image (C, H, W) and its mask (K, H, W)."""
    image, mask = random_resized_crop(image, rng, scale, mask)
    if rng.random() < 0.5:
        image = image[:, :, ::-1]
        mask = None if mask is None else mask[:, :, ::-1]
    return np.ascontiguousarray(image), None if mask is None else np.ascontiguousarray(mask)


def augment_volume(
    volume: Array, rng: np.random.Generator, mask: NDArray[np.uint8] | None = None, intensity: float = 0.0
) -> tuple[Array, NDArray[np.uint8] | None]:
    """Mirroring of a volume (1, D, H, W) and its mask (K, D, H, W): tried half of the time, then each axis by half.

    With `intensity`, values are scaled and shifted by up to that fraction of their standard deviation.
    """
    if rng.random() < 0.5:
        axes = tuple(axis for axis in (1, 2, 3) if rng.random() < 0.5)
        volume = np.flip(volume, axes)
        mask = None if mask is None else np.flip(mask, axes)
    if intensity:
        gain, shift = rng.uniform(1 - intensity, 1 + intensity), rng.uniform(-intensity, intensity)
        volume = volume * np.float32(gain) + np.float32(shift * volume.std())
    return np.ascontiguousarray(volume), None if mask is None else np.ascontiguousarray(mask)
