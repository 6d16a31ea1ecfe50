"""The steps of the published preprocessing: right by default, the published numbers on request."""

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.preprocess.intensity import colour_planes, grey, lits, lits_channels, ricord, zscore
from medcoss.preprocess.published import (
    ct_tile_slices,
    in_plane_crop,
    mr_tile_slices,
    mr_tiles,
    resized,
    respaced_ct,
    volume_input,
)
from medcoss.preprocess.windows import gaussian_weights
from medcoss.run import BadInput
from tests.medcoss.preprocess.files import itk_image

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
OBLIQUE = (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)


def ramp(size: tuple[int, int, int], spacing: tuple[float, ...], direction: tuple[float, ...]) -> sitk.Image:
    """A volume whose values are 100 + 2 x + 3 y + 5 z of its voxels' places in mm."""
    image = itk_image(np.zeros(size, np.float32), spacing, (-11.0, 22.0, 3.5), direction)
    return itk_image(expected(image), spacing, (-11.0, 22.0, 3.5), direction)


def expected(image: sitk.Image) -> np.ndarray:
    places = np.stack(np.meshgrid(*(np.arange(n) for n in image.GetSize()), indexing="ij"), axis=-1)
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    values = 100 + (places @ steps.T + image.GetOrigin()) @ [2, 3, 5]
    return values.transpose(2, 1, 0).astype(np.float32)


def inner(image: sitk.Image, array: np.ndarray) -> np.ndarray:
    """Without what lies near the edge, where values are repeated."""
    return array[tuple(slice(n // 4, -(n // 4)) for n in array.shape)]


@pytest.mark.parametrize("direction", [IDENTITY, OBLIQUE])
@pytest.mark.parametrize("step", [respaced_ct, lambda image: resized(image, (16, 30, 21))])
def test_what_lies_somewhere_stays_there(step, direction: tuple[float, ...]) -> None:
    image = ramp((24, 20, 28), (0.7, 1.3, 2.5), direction)
    found = step(image)
    values = sitk.GetArrayFromImage(found)
    assert np.abs(inner(found, values - expected(found))).max() < 0.5
    extent = [np.multiply(i.GetSize(), i.GetSpacing()) for i in (image, found)]
    assert extent[1] == pytest.approx(extent[0], abs=1e-3)


def test_published_resizing_moves_by_half_a_voxel_and_blackens_the_end() -> None:
    image = ramp((8, 8, 8), (1.0, 1.0, 1.0), IDENTITY)
    found = sitk.GetArrayFromImage(resized(image, (16, 16, 16), published=True))
    assert not found[-1].any() and not found[:, -1].any() and not found[..., -1].any()
    assert np.allclose(found[:15:2, :15:2, :15:2], sitk.GetArrayFromImage(image), atol=1e-3)
    right = sitk.GetArrayFromImage(resized(image, (16, 16, 16)))
    assert right.min() == pytest.approx(sitk.GetArrayFromImage(image).min(), rel=1e-5)


def test_published_resizing_truncates_whole_numbers() -> None:
    image = sitk.GetImageFromArray(np.arange(-9, 15, 3, dtype=np.int16)[None, None].repeat(2, 1).repeat(2, 0))
    row = sitk.GetArrayFromImage(resized(image, (2, 2, 16), published=True))[0, 0]
    assert row.tolist() == [-9, -7, -6, -4, -3, -1, 0, 1, 3, 4, 6, 7, 9, 10, 12, 0]


def test_ct_on_a_1_mm_grid() -> None:
    image = itk_image(np.full((4, 10, 10), 3000, np.int16), (0.77, 0.77, 2.0), (0.0, 0.0, 0.0), IDENTITY)
    right, published = respaced_ct(image), respaced_ct(image, published=True)
    assert right.GetSize() == (8, 8, 8) and published.GetSize() == (7, 7, 8)
    assert right.GetSpacing() == pytest.approx((0.9625, 0.9625, 1.0)) and published.GetSpacing() == (1.0, 1.0, 1.0)
    assert set(sitk.GetArrayFromImage(right).ravel()) == {1024}
    thin = itk_image(np.zeros((4, 1, 10), np.int16), (0.5, 0.5, 2.0), (0.0, 0.0, 0.0), IDENTITY)
    with pytest.raises(BadInput, match="expected 1 mm or more"):
        respaced_ct(thin, published=True)


def test_each_axis_longer_than_320_is_cropped() -> None:
    assert in_plane_crop(320, 320) == (slice(0, 320), slice(0, 320))
    assert in_plane_crop(300, 340) == (slice(0, 300), slice(34, 306))
    assert in_plane_crop(300, 340, published=True) == (slice(0, 300), slice(0, 340))
    assert in_plane_crop(340, 300, published=True) == (slice(34, 306), slice(30, 270))


def test_tiles_of_ct_cover_every_slice() -> None:
    assert ct_tile_slices(12) == [] and ct_tile_slices(13) == [(0, 13)]
    for slices in range(24, 80):
        places = ct_tile_slices(slices)
        assert {last - first for first, last in places} == {24}
        assert {i for place in places for i in range(*place)} == set(range(slices))


def test_tiles_of_mr_do_not_change_each_other() -> None:
    volume = np.random.default_rng(5).integers(0, 4000, (40, 6, 7)).astype(np.int16)
    before = volume.copy()
    tiles, published = mr_tiles(volume), mr_tiles(volume, published=True)
    assert np.array_equal(volume, before)
    assert [t.shape for t in tiles] == [t.shape for t in published] == [(16, 6, 7)] * 3
    for (first, last), tile in zip(mr_tile_slices(40), tiles, strict=True):
        assert tile.mean() == pytest.approx(0, abs=1e-5) and tile.std() == pytest.approx(1, abs=1e-5)
        assert np.array_equal(tile, mr_tiles(np.pad(volume[first:last], ((2, 2), (0, 0), (0, 0))))[0])
    # the bounds of the second tile were found after the first was clipped
    assert np.abs(tiles[1] - published[1]).max() > 1e-3


def test_shallow_mr() -> None:
    volume = np.random.default_rng(6).normal(size=(12, 4, 4)).astype(np.float32)
    (tile,) = mr_tiles(volume)
    assert tile.shape == (16, 4, 4) and np.array_equal(tile[-1], tile[8])
    with pytest.raises(BadInput, match="the volume has 12 slices; expected at least 16"):
        mr_tiles(volume, published=True)


def test_volumes_go_to_the_model_as_they_lie() -> None:
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    assert np.array_equal(volume_input(volume, 2.0), (volume / 2)[None].astype(np.float32))
    assert np.array_equal(volume_input(volume, published=True)[0], volume.swapaxes(1, 2))


def test_colours() -> None:
    image = np.array([[[200, 10, 30], [7, 7, 7]]], np.uint8)
    assert grey(image).tolist() == [[69, 7]] and grey(image, published=True).tolist() == [[69, 7]]
    # 68.7 is rounded, or cut off
    image[0, 0] = [199, 10, 30]
    assert grey(image)[0, 0] == 69 and grey(image, published=True)[0, 0] == 68
    assert colour_planes(image)[:, 0, 0].tolist() == [199, 10, 30]
    assert colour_planes(image, published=True)[:, 0, 0].tolist() == [30, 10, 199]


def test_intensities() -> None:
    image = np.stack([np.arange(12.0).reshape(3, 4), np.full((3, 4), 5.0)])
    scored = zscore(image)
    assert scored[0].mean() == pytest.approx(0, abs=1e-6) and scored[0].std() == pytest.approx(1, abs=1e-6)
    assert not scored[1].any() and scored.dtype == np.float32
    assert ricord(np.array([-3000.0, 158.58, 3000.0])) == pytest.approx([-3.642069, 0, 0.512535], abs=1e-6)
    assert lits(np.array([-3000.0, 65.0, 3000.0])).tolist() == [-1, 0.2, 1]
    assert lits_channels(np.array([0, 1, 2])).tolist() == [[0, 1, 1], [0, 0, 1]]


@pytest.mark.parametrize("size", [(224, 224), (64, 96, 32), (3, 5, 7)])
def test_weights_fall_from_the_middle_and_reach_everywhere(size: tuple[int, ...]) -> None:
    weights = gaussian_weights(size)
    assert weights.shape == size and weights.max() == 1 == weights[tuple(n // 2 for n in size)]
    assert (weights > 0).all()
    row = weights[tuple(n // 2 for n in size[:-1])]
    middle = size[-1] // 2
    assert (np.diff(row[: middle + 1]) >= 0).all() and (np.diff(row[middle:]) <= 0).all()
