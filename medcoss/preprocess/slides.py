"""Whole-slide images through OpenSlide (packages openslide-python and openslide-bin, asked for when first used)."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medcoss.preprocess.tissue import TileRule, mpp_of, tile_places, tissue_mask
from medcoss.run import BadInput

SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".vms", ".vmu", ".bif", ".svslide", ".czi")
# tissue is looked for at about 1.25x
OVERVIEW_MPP = 8.0
# pixels that are read at once, 4 bytes each
STRIP = 1 << 26


class Slide:
    """One whole-slide image: `size` (width, height) in pixels of the finest level, `mpp` micrometres a pixel there."""

    def __init__(self, handle: Any, name: str) -> None:
        self._handle = handle
        self.name = name
        self.size: tuple[int, int] = handle.dimensions
        self.mpp = _mpp(handle.properties, name)

    def overview(self, mpp: float = OVERVIEW_MPP) -> NDArray[np.uint8]:
        """The whole slide (H, W, 3), RGB, at about `mpp` micrometres a pixel, no larger than its finest level."""
        width, height = (max(round(n * self.mpp / max(mpp, self.mpp)), 1) for n in self.size)
        across, down = self.size
        # in strips: a slide without coarse levels is read from its finest one
        pixels = math.prod(self._handle.level_dimensions[self._level(self.size, (width, height))])
        edges = np.linspace(0, height, min(math.ceil(pixels / STRIP), height) + 1).astype(int)
        strips = (
            self._region((0, round(a * down / height)), (across, round((b - a) * down / height)), (width, b - a))
            for a, b in pairwise(edges.tolist())
        )
        return np.concatenate([np.asarray(strip) for strip in strips])

    def places(self, rule: TileRule) -> list[tuple[int, int]]:
        """Upper left corners (x, y) of the tiles with tissue. Raises BadInput when the slide is too coarse for them."""
        if self.mpp > 1.1 * rule.mpp:
            raise BadInput(
                f"the slide was scanned at {self.mpp:.2f} um a pixel; expected {rule.mpp:g} or finer: ask for a lower "
                "magnification",
                self.name,
            )
        overview = self.overview()
        return tile_places(self.size, self.mpp, tissue_mask(overview, max(OVERVIEW_MPP, self.mpp)), rule)

    def tile(self, place: tuple[int, int], rule: TileRule) -> NDArray[np.uint8]:
        """The tile (pixels, pixels, 3), RGB, whose upper left corner is `place` (x, y) on the finest level."""
        side = round(rule.pixels * rule.mpp / self.mpp)
        return np.asarray(self._region(place, (side, side), (rule.pixels, rule.pixels)))

    def _region(self, place: tuple[int, int], size: tuple[int, int], wanted: tuple[int, int]) -> Image.Image:
        """A region of the finest level at another size, read from the coarsest level that is fine enough."""
        level = self._level(size, wanted)
        down = self._handle.level_downsamples[level]
        limits = self._handle.level_dimensions[level]
        read = [max(min(round(n / down), limit), 1) for n, limit in zip(size, limits, strict=True)]
        try:
            region = self._handle.read_region(place, level, tuple(read))
        except Exception as error:
            raise BadInput(f"a region of the slide cannot be read ({type(error).__name__}); copy the file again",
                           self.name) from error  # fmt: skip
        # what was not scanned is transparent
        white = Image.new("RGB", region.size, (255, 255, 255))
        white.paste(region, mask=region.getchannel("A"))
        return white if white.size == wanted else white.resize(wanted, Image.Resampling.BICUBIC)

    def _level(self, size: tuple[int, int], wanted: tuple[int, int]) -> int:
        """The coarsest level with at least the wanted pixels."""
        # sizes of levels are rounded
        ratio = min(a / b for a, b in zip(size, wanted, strict=True))
        return int(self._handle.get_best_level_for_downsample(ratio * 1.01))


@contextmanager
def open_slide(path: Path, name: str) -> Iterator[Slide]:
    """A slide, open while it is needed.

    Raises BadInput naming `name` when OpenSlide is not installed, does not know the file, or the file does not say
    how large its pixels are.
    """
    try:
        import openslide
    except ImportError:
        raise BadInput(
            "whole-slide images need OpenSlide: install medcoss[slides], or give tiles as images", name
        ) from None
    try:
        handle = openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError) as error:
        raise BadInput(f"OpenSlide cannot read this file ({type(error).__name__}); expected a whole-slide image "
                       "(SVS, NDPI, MRXS, tiled TIFF, ...)", name) from error  # fmt: skip
    with handle:
        yield Slide(handle, name)


def _mpp(properties: Any, name: str) -> float:
    """Micrometres a pixel of the finest level: as stored, else by the objective."""
    try:
        x, y = (float(properties.get(f"openslide.mpp-{axis}") or "nan") for axis in "xy")
        power = float(properties.get("openslide.objective-power") or "nan")
    except ValueError:
        x = y = power = math.nan
    if x > 0 and y > 0 and abs(x - y) > 0.05 * x:
        raise BadInput(f"pixels measure {x:.3f} x {y:.3f} um; expected squares", name)
    found = (x + y) / 2 if x > 0 and y > 0 else mpp_of(power) if power > 0 else math.nan
    if not 0.05 < found < 100:
        raise BadInput("the slide does not say how large its pixels are (openslide.mpp-x, objective-power)", name)
    return found
