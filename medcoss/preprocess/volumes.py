"""Volumes to model tiles and back: orientation, in-plane resize, depth tiles, intensity, blending."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.data.originals import Original, Placement
from medcoss.specs.preprocess import VolumeFolder

Array = NDArray[np.float32]
# of the probability of a channel, in evaluation and serving alike
MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an image lie: everything needed to write a mask that fits it."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, ...]

    @property
    def orientation(self) -> str:
        """Nearest orientation code of the axes, e.g. 'LPS'."""
        return str(sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(self.direction))


def geometry(image: sitk.Image) -> Geometry:
    """The geometry of an image, in ITK's order (x, y, z) and mm."""
    return Geometry(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def nifti_bytes(image: sitk.Image) -> bytes:
    """An image as the content of a `.nii.gz` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii.gz"
        sitk.WriteImage(image, str(path))
        return path.read_bytes()


def to_lps(image: sitk.Image) -> sitk.Image:
    """The image with its axes nearest to left, posterior, superior."""
    return sitk.DICOMOrient(image, "LPS")


def from_lps(mask: NDArray[np.uint8], original: Geometry) -> sitk.Image:
    """A label map (z, y, x) on the LPS grid of an image, as an image with the original's very geometry."""
    shape_image = sitk.Image(original.size, sitk.sitkUInt8)
    shape_image.SetSpacing(original.spacing)
    shape_image.SetOrigin(original.origin)
    shape_image.SetDirection(original.direction)
    reference = to_lps(shape_image)
    labelled = sitk.GetImageFromArray(mask)
    labelled.CopyInformation(reference)
    restored = sitk.DICOMOrient(labelled, original.orientation)
    restored.CopyInformation(shape_image)
    return restored


def resize_in_plane(volume: Array, height: int, width: int, order: int = 1) -> Array:
    """Resample the slices of (z, y, x) to `height` x `width`, corners aligned to corners, edges repeated."""
    factors = (1.0, height / volume.shape[1], width / volume.shape[2])
    return ndimage.zoom(volume, factors, order=order, mode="nearest", grid_mode=True, prefilter=False)


def tile_starts(slices: int, depth: int, stride: int) -> list[int]:
    """First slices of tiles of `depth` every `stride`; the last one ends at the last slice.

    A volume of fewer than `depth` slices has one tile, which is padded.
    """
    if slices <= depth:
        return [0]
    starts = list(range(0, slices - depth, stride))
    return [*starts, slices - depth]


def normalise(tile: Array, intensity: str) -> Array:
    """Intensity rule of one tile: `hounsfield` clips to [-1024, 1024] HU and divides by 1024;
    `percentile_zscore` clips to the 0.2 and 99.8 percentiles, then subtracts the mean and divides by the
    population standard deviation; a constant tile becomes 0.
    """
    if intensity == "hounsfield":
        return (np.clip(tile, -1024, 1024) / 1024).astype(np.float32)
    low, high = np.percentile(tile, (0.2, 99.8))
    if low == high:
        # the rounding error of the mean would be blown up
        return np.zeros_like(tile, dtype=np.float32)
    clipped = np.clip(tile, low, high)
    return ((clipped - clipped.mean()) / clipped.std()).astype(np.float32)


def intensity_rule(recipe: VolumeFolder) -> str:
    """The intensity rule that `auto` stands for."""
    if recipe.intensity == "auto":
        return "hounsfield" if recipe.modality == "ct" else "percentile_zscore"
    return recipe.intensity


def inner_slices(slices: int, recipe: VolumeFolder) -> slice:
    """The slices that are tiled: all of a volume with a label map, else those between the `drop_outer` shares."""
    if recipe.label_suffix:
        return slice(0, slices)
    first = int(recipe.drop_outer * slices)
    return slice(first, max(int((1 - recipe.drop_outer) * slices), first + 1))


def tiles_of(volume: Array, recipe: VolumeFolder) -> tuple[list[int], list[Array]]:
    """Cut a volume (z, y, x) in LPS order into normalised tiles (1, D, H, W) and their first slices."""
    depth, height, width = recipe.size
    resized = resize_in_plane(volume.astype(np.float32, copy=False), height, width)
    starts = tile_starts(len(resized), depth, recipe.stride)
    rule = intensity_rule(recipe)
    tiles = [normalise(pad_depth(resized[s : s + depth], depth), rule)[None] for s in starts]
    return starts, tiles


def mask_tiles_of(labels: NDArray[np.uint8], values: int, recipe: VolumeFolder) -> list[NDArray[np.uint8]]:
    """Cut a label map (z, y, x) with labels 1 .. `values` into binary tiles (K, D, H, W)."""
    depth, height, width = recipe.size
    resized = resize_in_plane(labels.astype(np.float32), height, width, order=0).astype(np.uint8)
    channels = np.stack([resized == value for value in range(1, values + 1)]).astype(np.uint8)
    return [
        np.stack([pad_depth(c[s : s + depth], depth, constant=True) for c in channels])
        for s in tile_starts(resized.shape[0], depth, recipe.stride)
    ]


def labelled_original(labels: NDArray[np.uint8], values: int, spacing: tuple[float, ...], size: tuple[int, ...]
                      ) -> Original:  # fmt: skip
    """The original of a label map (z, y, x) with labels 1 .. `values` whose slices were resized to the last two of
    `size`; `spacing` in mm (z, y, x).
    """
    masks = np.stack([labels == value for value in range(1, values + 1)])
    resized = (len(labels), *size[-2:])
    return Original(Placement(labels.shape, spacing, (0, 0, 0), labels.shape, resized), masks)


def pad_depth(tile: NDArray[Any], depth: int, constant: bool = False) -> NDArray[Any]:
    """Extend (z, y, x) at its end to `depth` slices, by its last slice or by zeros."""
    missing = depth - tile.shape[0]
    if missing <= 0:
        return tile
    return np.pad(tile, ((0, missing), (0, 0), (0, 0)), mode="constant" if constant else "edge")


def blend(tiles: Array, starts: list[int], slices: int) -> Array:
    """Put tiles (N, K, D, H, W) back to (K, slices, H, W); overlaps are averaged with Gaussian weights in depth.

    Slices that no tile covers are 0.
    """
    _, channels, depth, height, width = tiles.shape
    centre = (depth - 1) / 2
    weights = np.exp(-0.5 * ((np.arange(depth) - centre) / (depth / 8)) ** 2).astype(np.float32) + 1e-3
    # padded tiles reach beyond the last slice
    length = max(slices, max(starts) + depth)
    total = np.zeros((channels, length, height, width), np.float32)
    norm = np.zeros((1, length, 1, 1), np.float32)
    for tile, start in zip(tiles, starts, strict=True):
        total[:, start : start + depth] += tile * weights[None, :, None, None]
        norm[:, start : start + depth] += weights[None, :, None, None]
    return (total / np.maximum(norm, 1e-6))[:, :slices]


def to_masks(probabilities: Array) -> NDArray[np.bool_]:
    """Masks of independent probabilities, both (K, ...): each channel for itself, so that they may overlap."""
    return probabilities > MASK_THRESHOLD


def to_label_map(masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Labels 1 .. K of masks (K, ...), later channels above earlier ones: a tumour stays visible in its liver."""
    labels = np.zeros(masks.shape[1:], np.uint8)
    for value, mask in enumerate(masks, start=1):
        labels[mask] = value
    return labels
