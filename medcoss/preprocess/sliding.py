"""Sliding windows over an image or a volume and back, without torch: the same as evaluation's, which MONAI slides.

Places are those of MONAI's `sliding_window_inference`, weights those of nnU-Net (Isensee et al., 2021).
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcoss.preprocess.volumes import tile_starts
from medcoss.preprocess.windows import gaussian_weights

Array = NDArray[np.float32]
OVERLAP = 0.5


@dataclass
class Windows:
    """The windows of `size` (D, H, W) over an `image` (C, D, H, W), each of which the next one covers again by half.

    What is smaller than a window is padded around by its lowest value, and the padding cut off again.
    """

    image: Array
    size: tuple[int, ...]
    places: list[tuple[int, ...]] = field(init=False)
    _inner: tuple[slice, ...] = field(init=False)

    def __post_init__(self) -> None:
        shape = self.image.shape[1:]
        missing = [max(window - n, 0) for window, n in zip(self.size, shape, strict=True)]
        self._inner = tuple(slice(m // 2, m // 2 + n) for m, n in zip(missing, shape, strict=True))
        if any(missing):
            around = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
            self.image = np.pad(self.image, around, constant_values=float(self.image.min()))
        steps = (max(1, int(window * (1 - OVERLAP))) for window in self.size)
        starts = [tile_starts(n, w, s) for n, w, s in zip(self.image.shape[1:], self.size, steps, strict=True)]
        self.places = list(itertools.product(*starts))

    def __len__(self) -> int:
        return len(self.places)

    def batches(self, count: int) -> Iterator[Array]:
        """The windows (B, C, D, H, W), up to `count` at once, in the order of their places."""
        for first in range(0, len(self.places), count):
            yield np.stack([self.image[(slice(None), *self._box(p))] for p in self.places[first : first + count]])

    def blend(self, values: Iterator[Array]) -> Array:
        """Values (K, D, H, W) of the image from those of its windows (K, D, H, W), averaged with Gaussian weights.

        As many are taken from the iterator as there are windows.
        """
        weights = gaussian_weights(self.size)
        total: Array | None = None
        norm = np.zeros(self.image.shape[1:], np.float32)
        for place in self.places:
            one, box = next(values), self._box(place)
            if total is None:
                total = np.zeros((len(one), *norm.shape), np.float32)
            total[(slice(None), *box)] += one * weights
            norm[box] += weights
        assert total is not None, "an image has a window at least"
        total /= norm
        return total[(slice(None), *self._inner)]

    def _box(self, place: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(start, start + n) for start, n in zip(place, self.size, strict=True))


def assembled(tiles: Iterable[NDArray[Any]], starts: list[int]) -> tuple[NDArray[Any], bool]:
    """Tiles (C, D, H, W) one after the other as (C, slices, H, W), padding included; whether overlaps agree."""
    whole: NDArray[Any] | None = None
    agree, filled = True, 0
    for tile, start in zip(tiles, starts, strict=True):
        depth = tile.shape[1]
        if whole is None:
            whole = np.zeros((tile.shape[0], starts[-1] + depth, *tile.shape[2:]), tile.dtype)
        shared = max(filled - start, 0)
        agree = agree and np.array_equal(whole[:, start:filled], tile[:, :shared])
        whole[:, start : start + depth], filled = tile, start + depth
    assert whole is not None
    return whole, agree
