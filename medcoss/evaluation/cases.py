"""Whole images and volumes of the tiles that a dataset stores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcoss.data.shards import Sample, ShardReader
from medcoss.evaluation.windows import Array, Sliding, slide
from medcoss.modalities import Kind
from medcoss.models.heads import Segmenter
from medcoss.preprocess.sliding import assembled
from medcoss.preprocess.volumes import blend


@dataclass(frozen=True)
class Stored:
    """What a dataset stores of one image or volume: arrays (C, H, W) or (C, D, H, W), and its mask (K, ...).

    That is one array of the whole, or, where tiles that overlap differ because the recipe normalises each for itself,
    the tiles, which start at the slices `starts`. Arrays may be padded in depth beyond the `slices` of the volume.
    Of a dataset without masks K is 0.
    """

    first: Sample
    arrays: list[Array]
    mask: NDArray[np.uint8]
    starts: list[int]
    slices: int | None

    @property
    def image(self) -> Array:
        """The whole: of tiles that differ the weighted mean."""
        return self._joined(self.arrays)

    @property
    def reference(self) -> NDArray[np.bool_]:
        """The mask (K, ...) of the whole, without padding."""
        return (self.mask if self.slices is None else self.mask[:, : self.slices]) > 0

    def probabilities(self, model: Segmenter, how: Sliding) -> Array:
        """Probabilities (K, ...) of the whole by a sliding window, within each tile where tiles differ."""
        return self._joined([slide(model, array, how) for array in self.arrays])

    def _joined(self, arrays: list[Array]) -> Array:
        if self.slices is None:
            return arrays[0]
        return arrays[0][:, : self.slices] if len(arrays) == 1 else blend(np.stack(arrays), self.starts, self.slices)


def stored(reader: ShardReader, members: list[int]) -> Stored:
    """The case of the samples at `members`, which belong to one group."""
    members = sorted(members, key=lambda i: reader.rows[i].offset)
    first, starts = reader.rows[members[0]], [reader.rows[i].offset for i in members]
    if reader.info.kind is not Kind.VOLUME3D:
        image = reader.image(members[0])
        return Stored(first, [image], _mask(reader, members[0], image), [0], None)
    whole, agree = assembled((reader.image(i) for i in members), starts)
    mask = _none(whole)
    if reader.info.has_masks:
        mask, _ = assembled((_mask(reader, i, whole) for i in members), starts)
    arrays = [whole] if agree else [reader.image(i) for i in members]
    return Stored(first, arrays, mask, starts, first.slices)


def _mask(reader: ShardReader, index: int, image: Array) -> NDArray[np.uint8]:
    mask = reader.mask(index)
    return _none(image) if mask is None else np.asarray(mask)


def _none(image: Array) -> NDArray[np.uint8]:
    """The mask (0, ...) of an image of which nothing is known."""
    return np.zeros((0, *image.shape[1:]), np.uint8)
