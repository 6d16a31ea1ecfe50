"""The preprocessing that is recorded with a model, for single inputs: training and serving cannot differ."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from medcoss.data.shards import to_model_input
from medcoss.data.tokenizer import Encoded, Tokenizer
from medcoss.modalities import Kind
from medcoss.preprocess.io import read_image, read_volume
from medcoss.preprocess.recipe import recipe_of
from medcoss.preprocess.volumes import (
    Geometry,
    blend,
    from_lps,
    geometry,
    resize_in_plane,
    to_label_map,
    to_lps,
    to_masks,
)
from medcoss.run import BadInput
from medcoss.specs.recipes import Recipe
from medcoss.specs.recipes.base import RecipeSpec

Array = NDArray[np.float32]
Masks = NDArray[np.bool_]
# 512 x 512 x 2048; as numbers of 32 bit, with its tiles, that is several GiB
SERVED_VOXELS = 2**29
_RECIPE: TypeAdapter[RecipeSpec] = TypeAdapter(Recipe)


@dataclass(frozen=True)
class VolumeRequest:
    """A volume ready for the model: `windows` (N, 1, D, H, W), and the way back to its own grid."""

    windows: Array
    starts: list[int]
    shape: tuple[int, int, int]
    original: Geometry

    def restore(self, probabilities: Array) -> Masks:
        """Masks (K, z, y, x) on the volume's LPS grid from the windows' probabilities (N, K, D, H, W)."""
        slices, height, width = self.shape
        blended = blend(probabilities, self.starts, slices)
        return np.stack([to_masks(resize_in_plane(channel, height, width)) for channel in blended])

    def to_nifti(self, masks: Masks) -> bytes:
        """The label map of masks (K, z, y, x) as `.nii.gz` in the input's own geometry, later ones above."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mask.nii.gz"
            sitk.WriteImage(from_lps(to_label_map(masks), self.original), str(path))
            return path.read_bytes()

    def volume_ml(self, masks: Masks) -> list[float]:
        """Volume of each of the masks (K, z, y, x) in ml; a liver's counts the tumours in it."""
        voxel_ml = float(np.prod(self.original.spacing)) / 1000
        return [float(np.count_nonzero(mask) * voxel_ml) for mask in masks]


class ServingPipeline:
    """Decoding and preprocessing of one input by a recorded `recipe`.

    Raises BadInput naming the file when it cannot be used.
    """

    def __init__(self, recipe: dict[str, Any], kind: Kind) -> None:
        self.recipe = _RECIPE.validate_python(recipe)
        self.kind = kind

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

    @staticmethod
    def image_masks(probabilities: Array, size: tuple[int, int]) -> Masks:
        """Masks (K, height, width) of the image's own size from probabilities (K, H, W)."""
        height, width = size
        resized = [
            np.asarray(Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR))
            for channel in probabilities
        ]
        return to_masks(np.stack(resized))

    def volume(self, data: bytes, filename: str) -> VolumeRequest:
        """Tiles of a volume file, of the slices that training uses; a segmenter's cover the whole volume."""
        return self.voxels(read_volume(data, filename, SERVED_VOXELS))

    def voxels(self, image: sitk.Image) -> VolumeRequest:
        """The same of a decoded volume."""
        array = sitk.GetArrayFromImage(to_lps(image)).astype(np.float32)
        starts, tiles = self._step("tiled")(array, self.recipe)
        return VolumeRequest(np.stack(tiles), starts, array.shape, geometry(image))

    def text(self, text: str, tokenizer: Tokenizer) -> Encoded:
        """Token ids of a report, cleaned as in training."""
        return tokenizer.encode(self._step("captioned")(text, self.recipe))

    def _step(self, name: str) -> Callable[..., Any]:
        """The step of training that the recipe offers for single inputs."""
        step: Callable[..., Any] | None = getattr(recipe_of(self.recipe), name, None)
        if step is None:
            raise BadInput(f"models of the recipe {self.recipe.name} take prepared datasets only", "model")
        return step
