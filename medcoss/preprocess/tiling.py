"""From a CT or MR volume to the tiles that pre-training takes (MedCoSS, Ye et al., CVPR 2024)."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.preprocess.published import (
    CT_SIZE,
    ct_tile_slices,
    in_plane_crop,
    mr_tile_slices,
    mr_tiles,
    resized,
    respaced_ct,
    volume_input,
)
from medcoss.preprocess.resampling import resize_linear
from medcoss.preprocess.volumes import Array, to_lps

MR_IN_PLANE = (192, 192)
_CT_SCALE = 1024


@dataclass(frozen=True)
class Tile:
    """What the model takes: `voxels` (1, D, H, W), float32, with `spacing` in mm (z, y, x).

    It starts at slice `offset` of a grid of `slices` slices.
    """

    voxels: Array
    offset: int
    slices: int
    spacing: tuple[float, float, float]


def ct_tiles(image: sitk.Image, published: bool = False) -> list[Tile]:
    """Tiles (1, 16, 192, 192) of a CT in HU: clipped to [-1024, 1024], on 1 mm, cropped, cut, resized, over 1024.

    Offsets count on the slices of the 1 mm grid, axes nearest to LPS; 12 of them or fewer give no tile.
    Published: axes as they come, every step as published.
    """
    grid = respaced_ct(image if published else to_lps(image), published)
    volume = sitk.GetArrayViewFromImage(grid)
    rows, columns = in_plane_crop(*volume.shape[1:], published)
    inner, places = volume[:, rows, columns], ct_tile_slices(len(volume))
    old = (CT_SIZE[0], *inner.shape[1:])
    if published:
        cut = [volume_input(_resized_as_published(inner[a:b]), _CT_SCALE, published=True) for a, b in places]
    else:
        # rows and columns once for tiles that overlap
        small = resize_linear(inner, (len(inner), *CT_SIZE[1:]))
        cut = [volume_input(resize_linear(small[a:b], CT_SIZE), _CT_SCALE) for a, b in places]
    spacing = grid.GetSpacing()[::-1]
    return [
        Tile(voxels, first, len(volume), _scaled(spacing, (last - first, *old[1:]), CT_SIZE))
        for voxels, (first, last) in zip(cut, places, strict=True)
    ]


def mr_volume_tiles(image: sitk.Image, published: bool = False) -> list[Tile]:
    """Tiles (1, 16, 192, 192) of an MR volume: slices resized, the outer 10 % left out, cut, clipped, z-scored.

    Offsets count on the volume's own slices, axes nearest to LPS. Published: axes as they come, every step as
    published (raises BadInput for fewer than 16 inner slices).
    """
    image = image if published else to_lps(image)
    size = (image.GetSize()[2], *MR_IN_PLANE)
    small = resized(image, size, published)
    tiles = mr_tiles(sitk.GetArrayViewFromImage(small), published)
    places = mr_tile_slices(size[0])
    spacing = _scaled(image.GetSpacing()[::-1], image.GetSize()[::-1], size)
    return [
        Tile(volume_input(tile, published=published), first, size[0], spacing)
        for tile, (first, _) in zip(tiles, places, strict=True)
    ]


def _resized_as_published(tile: NDArray[np.number]) -> NDArray[np.number]:
    return sitk.GetArrayFromImage(resized(sitk.GetImageFromArray(tile), CT_SIZE, published=True))


def _scaled(spacing: tuple[float, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[float, float, float]:
    z, y, x = (s * before / after for s, before, after in zip(spacing, old, new, strict=True))
    return (z, y, x)
