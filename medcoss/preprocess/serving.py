"""The preprocessing that is recorded with a model, for single inputs: training and serving cannot differ."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medcoss.data.originals import Placement
from medcoss.data.shards import to_model_input
from medcoss.data.tokenizer import Encoded, Tokenizer
from medcoss.modalities import Kind
from medcoss.preprocess.io import read_image, read_volume
from medcoss.preprocess.placement import restored
from medcoss.preprocess.received import SERVED_VOXELS
from medcoss.preprocess.recipe import recipe_of
from medcoss.preprocess.resampling import resize_linear
from medcoss.preprocess.sliding import Windows, assembled
from medcoss.preprocess.volumes import (
    Geometry,
    blend,
    from_lps,
    geometry,
    nifti_bytes,
    to_label_map,
    to_lps,
    to_masks,
)
from medcoss.run import BadInput
from medcoss.specs.recipes import Recipe
from medcoss.specs.recipes.base import RecipeSpec

Array = NDArray[np.float32]
Masks = NDArray[np.bool_]
_RECIPE: TypeAdapter[RecipeSpec] = TypeAdapter(Recipe)
# how far the channels of a grey image may lie apart on average, of 255: JPEG does not keep them equal
_GREY_WITHIN = 2.0


@dataclass(frozen=True)
class OnGrid:
    """The way back to the grid of a volume: its `shape` (z, y, x) and `spacing` in mm with axes nearest to LPS."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    original: Geometry

    def to_nifti(self, masks: Masks) -> bytes:
        """The label map of masks (K, z, y, x) as `.nii.gz` in the input's own geometry, later ones above."""
        return nifti_bytes(from_lps(to_label_map(masks), self.original))

    def own(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (z, y, x) of the LPS grid on the volume's own grid, (k, j, i)."""
        return sitk.GetArrayFromImage(from_lps(mask.astype(np.uint8), self.original)) > 0

    def volume_ml(self, masks: Masks) -> list[float]:
        """Volume of each of the masks (K, z, y, x) in ml; a liver's counts the tumours in it."""
        voxel_ml = float(np.prod(self.spacing)) / 1000
        return [float(np.count_nonzero(mask) * voxel_ml) for mask in masks]


@dataclass(frozen=True)
class VolumeRequest(OnGrid):
    """A volume ready for a model that reads tiles: `windows` (N, 1, D, H, W), which begin at the slices `starts`."""

    windows: Array
    starts: list[int]


@dataclass(frozen=True)
class SegmentRequest(OnGrid):
    """A volume ready for a segmenter, whose windows slide over it as in evaluation.

    `parts` are the whole volume, or, where the recipe normalises each tile for itself, its tiles, which begin at the
    slices `starts`; `placement` is where they lie in the volume.
    """

    parts: list[Windows]
    starts: list[int]
    placement: Placement

    def __len__(self) -> int:
        """How many windows there are."""
        return sum(map(len, self.parts))

    def batches(self, count: int) -> Iterator[Array]:
        """All windows (B, 1, D, H, W), up to `count` at once."""
        several = count // max(len(self.parts[0]), 1)
        if several < 2:
            for part in self.parts:
                yield from part.batches(count)
            return
        # tiles of one window each
        for first in range(0, len(self.parts), several):
            yield np.concatenate([next(p.batches(count)) for p in self.parts[first : first + several]])

    def blended(self, batches: Iterable[Array]) -> Array:
        """Probabilities (K, D, H, W) of the whole, on the grid of the samples, from those of the windows
        (B, K, D, H, W), which are taken as they come.
        """
        values = iter(chain.from_iterable(batches))
        found = [part.blend(values) for part in self.parts]
        slices = self.placement.resampled[0]
        return found[0][:, :slices] if len(found) == 1 else blend(np.stack(found), self.starts, slices)

    def channels(self, blended: Array) -> Iterator[Array]:
        """Probabilities (z, y, x) on the volume's LPS grid of one class after the other: each may be large."""
        return (restored(channel, self.placement) for channel in blended)

    def restore(self, batches: Iterable[Array]) -> Masks:
        """Masks (K, z, y, x) on the volume's LPS grid from the windows' probabilities (B, K, D, H, W)."""
        return np.stack([to_masks(channel) for channel in self.channels(self.blended(batches))])


class ServingPipeline:
    """Decoding and preprocessing of one input by a recorded `recipe` and its `findings` in the training data.

    Raises BadInput naming the file when it cannot be used.
    """

    def __init__(self, recipe: dict[str, Any], kind: Kind, findings: Any = None) -> None:
        self.recipe = _RECIPE.validate_python(recipe)
        self.kind, self.findings = kind, findings

    def image(self, data: bytes, filename: str) -> Array:
        """Model input (1, 3, H, W) of an image file."""
        return self.image_and_size(data, filename)[0]

    def image_and_size(self, data: bytes, filename: str) -> tuple[Array, tuple[int, int]]:
        """Model input (1, 3, H, W) and the image's own (height, width)."""
        decoded = read_image(data, filename)
        return self.pixels(decoded), (decoded.shape[0], decoded.shape[1])

    def pixels(self, decoded: NDArray[np.uint8]) -> Array:
        """Model input (1, 3, H, W) of a decoded image, (H, W) grey or (H, W, 3) RGB."""
        return to_model_input(self._step("fitted")(decoded, self.recipe), Kind.IMAGE2D)[None]

    def check_colours(self, decoded: NDArray[np.uint8], filename: str) -> None:
        """Refuse a coloured image where training saw grey ones, and the reverse: the model knows nothing of them.

        Raises BadInput naming `filename`. Grey that is stored as RGB is grey.
        """
        colours = recipe_of(self.recipe).describe(self.recipe).shape[0] == 3
        if decoded.ndim == 2 and colours:
            raise BadInput("the image is grey; the model reads colour images (RGB)", filename)
        if decoded.ndim == 3 and not colours:
            apart = decoded.max(axis=2).astype(np.int16) - decoded.min(axis=2)
            if apart.mean() > _GREY_WITHIN:
                raise BadInput("the image is coloured; the model reads grey ones: save it as greyscale", filename)

    @staticmethod
    def image_channels(probabilities: Array, size: tuple[int, int]) -> Array:
        """Probabilities (K, height, width) of the image's own size from those of the model (K, H, W)."""
        return np.stack([resize_linear(channel[None], (1, *size))[0] for channel in probabilities])

    @classmethod
    def image_masks(cls, probabilities: Array, size: tuple[int, int]) -> Masks:
        """Masks (K, height, width) of the image's own size from probabilities (K, H, W)."""
        return to_masks(cls.image_channels(probabilities, size))

    def volume(self, data: bytes, filename: str) -> VolumeRequest:
        """Tiles of a volume file, of the slices that training uses; a segmenter's cover the whole volume."""
        return self.voxels(read_volume(data, filename, SERVED_VOXELS))

    def voxels(self, image: sitk.Image) -> VolumeRequest:
        """The same of a decoded volume. Raises BadInput for one that is too small for a tile."""
        oriented = to_lps(image)
        starts, tiles = self._tiles(oriented)
        if not tiles:
            raise BadInput("the volume is too thin for a single tile of this model; send more slices", "the volume")
        return VolumeRequest(*_grid(image, oriented), np.stack(tiles), starts)

    def segmented(self, image: sitk.Image, window: tuple[int, ...]) -> SegmentRequest:
        """What a segmenter with a `window` (D, H, W) takes of a decoded volume."""
        oriented = to_lps(image)
        grid = _grid(image, oriented)
        if hasattr(recipe_of(self.recipe), "served"):
            array, placement = self._step("served")(oriented, self.recipe, self.findings)
            return SegmentRequest(*grid, [Windows(array, window)], [0], placement)
        starts, tiles = self._tiles(oriented)
        shape, spacing, _ = grid
        placement = Placement(shape, spacing, (0, 0, 0), shape, (shape[0], *tiles[0].shape[2:]))
        whole, agree = assembled(tiles, starts)
        parts = [whole] if agree and starts[0] == 0 and whole.shape[1] >= shape[0] else tiles
        return SegmentRequest(*grid, [Windows(part, window) for part in parts], starts, placement)

    def _tiles(self, oriented: sitk.Image) -> tuple[list[int], list[Array]]:
        """First slices and tiles (1, D, H, W) of a volume in LPS order."""
        if hasattr(recipe_of(self.recipe), "tiled_image"):
            found: tuple[list[int], list[Array]] = self._step("tiled_image")(oriented, self.recipe)
            return found
        return self._step("tiled")(sitk.GetArrayFromImage(oriented).astype(np.float32), self.recipe)

    def text(self, text: str, tokenizer: Tokenizer) -> Encoded:
        """Token ids of a report, cleaned as in training."""
        return tokenizer.encode(self._step("captioned")(text, self.recipe))

    def _step(self, name: str) -> Callable[..., Any]:
        """The step of training that the recipe offers for single inputs."""
        step: Callable[..., Any] | None = getattr(recipe_of(self.recipe), name, None)
        if step is None:
            raise BadInput(f"models of the recipe {self.recipe.name} take prepared datasets only", "model")
        return step


def _grid(image: sitk.Image, oriented: sitk.Image) -> tuple[tuple[int, int, int], tuple[float, float, float], Geometry]:
    """Shape and spacing (z, y, x) of a volume in LPS order, and its own geometry."""
    (x, y, z), (x_mm, y_mm, z_mm) = oriented.GetSize(), oriented.GetSpacing()
    return (z, y, x), (z_mm, y_mm, x_mm), geometry(image)
