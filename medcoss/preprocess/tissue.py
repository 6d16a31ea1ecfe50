"""Where tissue lies on a stained slide, and which tiles of it are taken.

Masks are made from an overview of the slide at low magnification; sizes on the slide are in micrometres (um), mpp is
micrometres a pixel.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import disk, isotropic_dilation, opening

Mask = NDArray[np.bool_]

# Otsu divides noise where all is background, and tissue where there is nothing else
_SATURATION = (0.07, 0.2)
_DARK = 0.15


@dataclass(frozen=True)
class TileRule:
    """How tiles are cut: `pixels` a side at `mpp` micrometres a pixel, with at least `tissue` of their area tissue."""

    pixels: int = 224
    mpp: float = 0.5
    tissue: float = 0.5


def mpp_of(magnification: float) -> float:
    """Micrometres a pixel of an objective by the usual scale: 0.5 at 20x, 0.25 at 40x."""
    return 10 / magnification


def pen_mask(overview: NDArray[np.uint8]) -> Mask:
    """Where an RGB image (H, W, 3) shows strokes of a black, red, green or blue pen, by hue, saturation and value.

    Haematoxylin and eosin are purple to pink (hue 0.65 to 0.95), DAB is brown (0.03 to 0.12).
    """
    hue, saturation, value = np.moveaxis(rgb2hsv(overview), -1, 0)
    red = ((hue > 0.955) | (hue < 0.03)) & (saturation > 0.55) & (value > 0.3)
    green_blue = (hue > 0.22) & (hue < 0.6) & (saturation > 0.2)
    blue = (hue >= 0.6) & (hue < 0.7) & (saturation > 0.65)
    return red | green_blue | blue | (value < _DARK)


def tissue_mask(overview: NDArray[np.uint8], mpp: float, smallest_um: float = 250, pen_margin_um: float = 60) -> Mask:
    """Where an RGB overview (H, W, 3) of `mpp` micrometres a pixel shows tissue.

    Saturation (HSV) above Otsu's threshold, less pen strokes with a margin; objects and holes below a square of
    `smallest_um` a side are left out and filled.
    """
    saturation = rgb2hsv(overview)[..., 1]
    threshold = np.clip(threshold_otsu(saturation), *_SATURATION) if np.ptp(saturation) else _SATURATION[0]
    pen = pen_mask(overview)
    if pen.any():
        # single pixels are nuclei or noise
        pen = isotropic_dilation(opening(pen, disk(1)), max(pen_margin_um / mpp, 1))
    area = (smallest_um / mpp) ** 2
    mask = _without_small((saturation > threshold) & ~pen, area)
    return ~_without_small(~mask, area) & ~pen


def _without_small(mask: Mask, area: float) -> Mask:
    """The mask without its connected objects of fewer than `area` pixels."""
    objects = label(mask, connectivity=1)
    large = np.bincount(objects.ravel()) >= area
    large[0] = False
    return large[objects]


def tile_places(size: tuple[int, int], mpp: float, mask: Mask, rule: TileRule) -> list[tuple[int, int]]:
    """Upper left corners (x, y) of the tiles with enough tissue, in pixels of the slide's finest level.

    `size` (width, height) and `mpp` are of that level; `mask` (H, W) covers the whole slide. Tiles are side by side;
    those that reach beyond the slide are left out.
    """
    side = rule.pixels * rule.mpp / mpp
    width, height = size
    scale_y, scale_x = mask.shape[0] / height, mask.shape[1] / width
    # sums over any box from four corners
    sums = np.pad(mask.astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    found = []
    for row in range(int(height / side)):
        top, bottom = _pixels(row * side * scale_y, (row + 1) * side * scale_y, mask.shape[0])
        for column in range(int(width / side)):
            left, right = _pixels(column * side * scale_x, (column + 1) * side * scale_x, mask.shape[1])
            inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            if inside >= rule.tissue * (bottom - top) * (right - left) and inside:
                found.append((round(column * side), round(row * side)))
    return found


def _pixels(start: float, stop: float, limit: int) -> tuple[int, int]:
    """First and last (exclusive) pixel of a stretch, at least one."""
    first = min(round(start), limit - 1)
    return first, min(max(round(stop), first + 1), limit)


def chosen(tiles: Iterable[str], at_most: int, seed: int) -> list[str]:
    """At most so many of a patient's tiles, in the order of a seeded hash of their names: the same ones always."""
    return sorted(set(tiles), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())[:at_most]
