"""The steps of the published volume preprocessing (MedCoSS, Ye et al., CVPR 2024): respacing, tiles, resizing.

Each step is right by default; `published=True` repeats what the published code does wrong, so that data
prepared with it and the numbers it gave can be reproduced. Volumes are ITK images, arrays (z, y, x).
"""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.preprocess.resampling import resize_cubic, resize_linear
from medcoss.preprocess.volumes import Array, normalise, pad_depth, tile_starts
from medcoss.run import BadInput

CT_SIZE = (16, 192, 192)
CT_TILE, CT_STRIDE = 24, 12
CT_WIDEST = 320
MR_TILE, MR_STRIDE = 16, 8
_OUTER = 0.1


def respaced_ct(image: sitk.Image, published: bool = False) -> sitk.Image:
    """A CT volume clipped to [-1024, 1024] HU on a grid of 1 mm, cubic, low-passed on axes that shrink.

    float32, nothing rounded; sizes are rounded and the spacing is what they really give. Published: the type
    stays and whole numbers are rounded, in-plane sizes are truncated, the spacing is called 1 mm, the origin kept.
    """
    volume = np.clip(sitk.GetArrayFromImage(image), -1024, 1024)
    wanted = [n * round(s, 4) for n, s in zip(volume.shape, image.GetSpacing()[::-1], strict=True)]
    size = [max(round(n), 1) for n in wanted]
    if published:
        size[1:] = [int(n) for n in wanted[1:]]
    if 0 in size:
        raise BadInput(f"the volume measures {wanted[1]:.2f} x {wanted[2]:.2f} mm in plane; expected 1 mm or more")
    # rounding needs more digits to give the published whole numbers
    found = resize_cubic(volume, (size[0], size[1], size[2]), np.float64 if published else np.float32)
    if published:
        if np.issubdtype(volume.dtype, np.integer):
            np.rint(found, out=found)
        found = found.astype(volume.dtype)
    result = sitk.GetImageFromArray(found)
    result.SetDirection(image.GetDirection())
    result.SetOrigin(image.GetOrigin())
    if not published:
        _fit_corners(result, image)
    return result


def in_plane_crop(height: int, width: int, published: bool = False) -> tuple[slice, slice]:
    """Rows and columns of a CT slice on a 1 mm grid that are used: the inner 80 % of an axis longer than 320.

    Published: the rows decide for both axes.
    """
    crop = [n > CT_WIDEST for n in (height, height if published else width)]
    rows, columns = (
        slice(int(_OUTER * n), int((1 - _OUTER) * n)) if cut else slice(0, n)
        for n, cut in zip((height, width), crop, strict=True)
    )
    return rows, columns


def ct_tile_slices(slices: int) -> list[tuple[int, int]]:
    """First and last slice (exclusive) of the tiles of a CT volume: 24 slices every 12, the last one moved back.

    Fewer than 24 slices make one short tile, 12 or fewer none.
    """
    if slices <= CT_TILE - CT_STRIDE:
        return []
    return [(start, min(start + CT_TILE, slices)) for start in tile_starts(slices, CT_TILE, CT_STRIDE)]


def mr_tile_slices(slices: int) -> list[tuple[int, int]]:
    """First and last slice (exclusive) of the tiles of an MR volume: 16 slices every 8 within the inner 80 %.

    Fewer than 16 inner slices make one short tile.
    """
    first, last = int(_OUTER * slices), int((1 - _OUTER) * slices)
    inner = last - first
    return [(first + s, min(first + s + MR_TILE, last)) for s in tile_starts(inner, MR_TILE, MR_STRIDE)]


def resized(image: sitk.Image, size: tuple[int, int, int], published: bool = False) -> sitk.Image:
    """The volume on `size` (z, y, x) voxels over the same extent, linear, float32; edges are repeated.

    Published: first voxels are aligned instead of corners, positions half a voxel or more behind the last
    voxel are 0 (water in CT), and the type stays, fractions being truncated.
    """
    if not published:
        result = sitk.GetImageFromArray(resize_linear(sitk.GetArrayViewFromImage(image), size))
        result.SetDirection(image.GetDirection())
        _fit_corners(result, image)
        return result
    target = sitk.Image(size[::-1], image.GetPixelID())
    target.SetDirection(image.GetDirection())
    target.SetOrigin(image.GetOrigin())
    target.SetSpacing([s * n / new for s, n, new in zip(image.GetSpacing(), image.GetSize(), size[::-1], strict=True)])
    return sitk.Resample(image, target, sitk.Transform(), sitk.sitkLinear, 0.0, image.GetPixelID())


def mr_tiles(volume: NDArray[np.number], published: bool = False) -> list[Array]:
    """Tiles (16, H, W) of an MR volume, each clipped to its 0.2 and 99.8 percentiles and z-scored; float32.

    A short tile repeats its last slice. Published: a tile sees the slices that it shares with the one before
    already clipped, bounds are truncated in whole-number volumes (whose tiles are float64), and a volume of
    fewer than 16 inner slices raises BadInput.
    """
    places = mr_tile_slices(len(volume))
    if not published:
        cut = (np.asarray(volume[first:last], np.float32) for first, last in places)
        return [normalise(pad_depth(tile, MR_TILE), "percentile_zscore") for tile in cut]
    if places[0][1] - places[0][0] < MR_TILE:
        raise BadInput(f"the volume has {len(volume)} slices; expected at least {MR_TILE} in its inner 80 %")
    volume, tiles = volume.copy(), []
    for first, last in places:
        tile = volume[first:last]
        low, high = np.percentile(tile, 0.2), np.percentile(tile, 99.8)
        tile[tile < low] = low
        tile[tile > high] = high
        tiles.append((tile - tile.mean()) / tile.std())
    return tiles


def volume_input(volume: NDArray[np.number], scale: float = 1.0, published: bool = False) -> Array:
    """What the model takes for a volume (z, y, x): float32 (1, z, y, x), divided by `scale` (1024 for CT).

    Published: the in-plane axes are swapped.
    """
    array = np.asarray(volume, np.float32) / np.float32(scale)
    return np.ascontiguousarray(array.swapaxes(1, 2) if published else array)[None]


def _fit_corners(image: sitk.Image, onto: sitk.Image) -> None:
    """Set spacing and origin such that `image` fills the extent of `onto`."""
    ratios = [n / new for n, new in zip(onto.GetSize(), image.GetSize(), strict=True)]
    image.SetSpacing([s * ratio for s, ratio in zip(onto.GetSpacing(), ratios, strict=True)])
    image.SetOrigin(onto.TransformContinuousIndexToPhysicalPoint([(ratio - 1) / 2 for ratio in ratios]))
