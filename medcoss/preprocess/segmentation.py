"""Volumes with label maps by the rules of nnU-Net: cut to what is not zero, then to tiles that span a slice."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.data.originals import Original, Placement
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.label_maps import read_label_map
from medcoss.preprocess.nnunet import Array, Cropped, Spacing, crop_to_nonzero, resample_labels, resample_volume
from medcoss.preprocess.placement import centred
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Made
from medcoss.preprocess.volumes import pad_depth, tile_starts, to_lps
from medcoss.run import BadInput
from medcoss.specs.recipes.base import SegmentedVolumes


@dataclass(frozen=True)
class Case:
    """A volume with its labels, cut to what is not zero, axes nearest to LPS; `spacing` in mm (z, y, x).

    `labels` are those of the whole volume.
    """

    cut: Cropped
    spacing: Spacing
    labels: NDArray[np.integer]


def read_case(raw: Raw, files: tuple[str, ...], labels: int) -> Case:
    """The case of a volume and its label map with the values 0 .. `labels`. Raises BadInput."""
    image = read_volume(raw.read(files[0]), files[0])
    return case_of(image, read_label_map(raw, files[1], image, labels))


def case_of(image: sitk.Image, label_map: NDArray[np.uint8]) -> Case:
    """The case of a volume and its label map (z, y, x) in LPS order."""
    oriented = to_lps(image)
    x, y, z = oriented.GetSpacing()
    return Case(crop_to_nonzero(sitk.GetArrayFromImage(oriented), label_map), (z, y, x), label_map)


def original(case: Case, masks: NDArray[np.integer], resampled_to: tuple[int, ...]) -> Original:
    """The masks (K, z, y, x) of the whole volume, and where its tiles lie; `resampled_to` is the shape they are of."""
    box = case.cut.box
    placement = Placement(
        case.labels.shape, case.spacing, tuple(int(part.start) for part in box), case.cut.volume.shape, resampled_to
    )
    return Original(placement, masks > 0)


@dataclass(frozen=True)
class Resampled:
    """A case on another grid, (z, y, x), with its real `spacing`; `mask` where only what is not zero is normalised."""

    volume: Array
    labels: NDArray[np.integer]
    mask: NDArray[np.bool_] | None
    spacing: Spacing


def resampled(case: Case, target: Spacing) -> Resampled:
    """A case at the spacing `target` in mm (z, y, x), up to the rounding to whole voxels."""
    cut = case.cut
    volume = resample_volume(cut.volume, case.spacing, target)
    labels = resample_labels(cut.labels, case.spacing, target)
    mask = resample_labels(cut.mask.astype(np.uint8), case.spacing, target) > 0 if cut.masked else None
    z, y, x = (s * n / new for s, n, new in zip(case.spacing, cut.volume.shape, volume.shape, strict=True))
    return Resampled(volume, labels, mask, (z, y, x))


def recorded(findings: Any) -> Any:
    """What was concluded from the training cases. Raises BadInput when that is not recorded with the model."""
    if findings is None:
        raise BadInput(
            "the model does not say what its preprocessing concluded from the training cases; preprocess its dataset "
            "and fine-tune it again",
            "model",
        )
    return findings


def whole(
    image: sitk.Image, target: Spacing, size: tuple[int, ...], normalised: Callable[[Resampled], tuple[Array, float]]
) -> tuple[Array, Placement]:
    """What `tiles` are cut of, (1, D, H, W), of a volume without labels in LPS order, and where it lies in the volume.

    `normalised` gives the intensities and what slices are padded with.
    """
    read = case_of(image, np.zeros(image.GetSize()[::-1], np.uint8))
    volume, fill = normalised(resampled(read, target))
    placement = original(read, read.labels[None], volume.shape).placement
    return centred(volume, size[1], size[2], fill)[None], placement


def tiles(volume: Array, masks: NDArray[np.uint8], spacing: Spacing, spec: SegmentedVolumes, fill: float, path: str,
          original: Original) -> Iterator[Made]:  # fmt: skip
    """Tiles of a volume (z, y, x) and masks (K, z, y, x), slices padded by `fill` or cut around their centre.

    The first one carries the `original`. Raises BadInput naming `path` when the cut would take labelled voxels.
    """
    depth, height, width = spec.size
    placed = centred(masks, height, width, 0)
    if placed.sum() < masks.sum():
        raise BadInput(
            f"labelled voxels lie outside the inner {height} x {width} voxels of its slices, which are "
            f"{volume.shape[1]} x {volume.shape[2]} after resampling; give a larger size", path,
        )  # fmt: skip
    volume = centred(volume, height, width, fill)
    for start in tile_starts(len(volume), depth, spec.stride):
        tile = pad_depth(volume[start : start + depth], depth)
        mask = np.stack([pad_depth(one[start : start + depth], depth, constant=True) for one in placed])
        own = original if start == 0 else None
        yield Made(tile[None], mask, offset=start, slices=len(volume), spacing=spacing, original=own)
