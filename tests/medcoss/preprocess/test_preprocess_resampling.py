"""Resizing by matrices is what scikit-image and ITK give, and the tiles made with it are those of the plain steps."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import resize

from benchmarks.preprocess import restated, synthetic
from medcoss.preprocess.published import resized
from medcoss.preprocess.resampling import cubic_matrix, linear_matrix, resize_cubic, resize_linear
from medcoss.preprocess.tiling import ct_tiles, mr_volume_tiles
from tests.medcoss.preprocess.files import itk_image

SIZES = st.tuples(*[st.integers(1, 40)] * 3)


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(0, 2**31))
def test_cubic_is_scikit_image(old: tuple[int, int, int], new: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).integers(-1024, 3000, old).astype(np.int16)
    plain = resize(volume, new, order=3, preserve_range=True)
    largest = np.abs(volume).max()
    assert np.abs(resize_cubic(volume, new) - plain).max() <= 1e-5 * largest
    assert np.abs(resize_cubic(volume, new, np.float64) - plain).max() <= 1e-13 * largest
    assert volume.min() <= resize_cubic(volume, new).min() and resize_cubic(volume, new).max() <= volume.max()


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(2, 30)] * 3), SIZES, st.integers(0, 2**31))
def test_linear_is_itk_with_corners_aligned(old: tuple[int, ...], new: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=old).astype(np.float32)
    ratios = [a / b for a, b in zip(old[::-1], new[::-1], strict=True)]
    target = sitk.Image(new[::-1], sitk.sitkFloat32)
    target.SetSpacing(ratios)
    target.SetOrigin([(ratio - 1) / 2 for ratio in ratios])
    plain = sitk.Resample(
        sitk.GetImageFromArray(volume), target, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True
    )
    assert np.abs(resize_linear(volume, new) - sitk.GetArrayFromImage(plain)).max() < 1e-4


@pytest.mark.parametrize("matrix", [cubic_matrix, linear_matrix])
@pytest.mark.parametrize(("old", "new"), [(1, 5), (7, 7), (512, 400), (30, 75), (5, 1)])
def test_a_constant_stays_itself(matrix, old: int, new: int) -> None:
    assert matrix(old, new).shape == (new, old)
    assert matrix(old, new).sum(axis=1) == pytest.approx(np.ones(new), abs=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        matrix(old, new)[0, 0] = 1  # kept: whoever changes it would change it for all


@pytest.mark.parametrize(("published", "allowed"), [(False, 1e-5), (True, 0)])
def test_ct_tiles_are_those_of_the_plain_steps(published: bool, allowed: float) -> None:
    image = synthetic(slices=15, side=410, seed=3)
    image = sitk.Extract(image, (410, 40, 15))  # one axis is cropped, the other not
    mine, plain = ct_tiles(image, published), restated(image, published)
    assert [tile.offset for tile in mine] == [0, 12, 14] and {tile.slices for tile in mine} == {38}
    for tile, voxels in zip(mine, plain, strict=True):
        assert tile.voxels.shape == (1, 16, 192, 192) and tile.voxels.dtype == np.float32
        assert np.abs(tile.voxels - voxels).max() <= allowed


def test_the_spacing_of_a_tile_is_that_of_its_voxels() -> None:
    tile = ct_tiles(itk_image(np.zeros((20, 64, 80), np.int16), (0.8, 0.7, 2.5)))[0]
    assert tile.spacing == pytest.approx((24 / 16, 64 * 0.7 / 192, 80 * 0.8 / 192))
    mr = mr_volume_tiles(itk_image(np.random.default_rng(0).normal(size=(30, 96, 48)), (2.0, 1.0, 3.0)))
    assert [tile.offset for tile in mr] == [3, 11] and mr[0].slices == 30
    assert mr[0].spacing == pytest.approx((3.0, 0.5, 0.5))


def test_axes_are_turned_to_lps_unless_as_published() -> None:
    volume = 300 * np.random.default_rng(0).normal(size=(20, 60, 50)).astype(np.float32)
    straight = itk_image(volume)
    turned = sitk.DICOMOrient(straight, "RAS")
    for make in (ct_tiles, mr_volume_tiles):
        there, back = make(straight)[0].voxels, make(turned)[0].voxels
        assert np.abs(there - back).max() < 1e-5
        assert np.abs(make(straight, True)[0].voxels - make(turned, True)[0].voxels).max() > 0.1


def test_mr_tiles_are_z_scored_slices_of_the_inner_part() -> None:
    volume = np.random.default_rng(1).gamma(2, 100, (24, 40, 60))
    tile = mr_volume_tiles(itk_image(volume))[0]
    small = sitk.GetArrayFromImage(resized(itk_image(volume), (24, 192, 192)))[2:18]
    clipped = np.clip(small, *np.percentile(small, (0.2, 99.8)))
    assert tile.voxels[0] == pytest.approx((clipped - clipped.mean()) / clipped.std(), abs=1e-4)
    assert len(mr_volume_tiles(itk_image(volume[:10]))) == 1


def test_too_few_slices_of_ct_give_no_tile() -> None:
    assert ct_tiles(itk_image(np.zeros((12, 30, 30), np.int16))) == []
    assert len(ct_tiles(itk_image(np.zeros((13, 30, 30), np.int16)))) == 1
