"""Volumes to tiles and back: nothing is lost, moved or mirrored."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medcoss.preprocess.volumes import (
    blend,
    from_lps,
    geometry,
    inner_slices,
    intensity_rule,
    mask_tiles_of,
    normalise,
    resize_in_plane,
    tile_starts,
    tiles_of,
    to_label_map,
    to_lps,
    to_masks,
)
from medcoss.specs.preprocess import VolumeFolder
from tests.medcoss.preprocess.files import itk_image

LABELS = np.random.default_rng(1).integers(0, 3, (3, 4, 5)).astype(np.uint8)


def axis_directions() -> list[tuple[float, ...]]:
    """All 48 ways to lay three axes along left, posterior, superior or their opposites."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            for axis, (target, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[target, axis] = sign
            found.append(tuple(matrix.ravel()))
    return found


def returns_unchanged(image: sitk.Image) -> None:
    back = from_lps(sitk.GetArrayFromImage(to_lps(image)), geometry(image))
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    # exactly: viewers refuse a mask that is off by a rounding error
    assert geometry(back) == geometry(image)


def test_every_orientation_goes_to_lps_and_back() -> None:
    for direction in axis_directions():
        image = itk_image(LABELS, (0.7, 1.3, 5.0), (-11.0, 22.0, 3.5), direction)
        turned = to_lps(image)
        assert np.allclose(np.reshape(turned.GetDirection(), (3, 3)), np.eye(3))
        corner = turned.TransformIndexToPhysicalPoint((1, 2, 0))
        assert turned.GetPixel(1, 2, 0) == image.GetPixel(*image.TransformPhysicalPointToIndex(corner))
        returns_unchanged(image)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_oblique_volumes_go_to_lps_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    spacing, origin = (tuple(map(float, rng.uniform(0.3, 6, 3))) for _ in range(2))
    returns_unchanged(itk_image(LABELS, spacing, origin, tuple(rotation.ravel())))


def test_real_volumes_go_to_lps_and_back(real_data: Path) -> None:
    for name in ("brain_mr/brainix_flair.nii.gz", "ct/vtk_headsq_64.nii.gz"):
        image = sitk.ReadImage(str(real_data / name))
        labels = sitk.Cast(image > 100, sitk.sitkUInt8)
        returns_unchanged(labels)


@given(st.integers(1, 300), st.integers(1, 40), st.data())
def test_tiles_cover_every_slice_and_stay_inside(slices: int, depth: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, depth))
    starts = tile_starts(slices, depth, stride)
    covered = {s for start in starts for s in range(start, min(start + depth, slices))}
    assert covered == set(range(slices))
    assert starts == sorted(set(starts))
    assert max(starts) + depth <= max(slices, depth)
    assert all(b - a <= stride for a, b in itertools.pairwise(starts))


def test_tiles_of_mr_begin_where_the_published_ones_do(parity: Path) -> None:
    recipe = VolumeFolder()
    golden = json.loads((parity / "tile_rule_mr.json").read_text())["depth_to_slices"]
    compared = 0
    for depth, entry in golden.items():
        if entry["error"]:
            continue
        used = inner_slices(int(depth), recipe)
        starts = tile_starts(used.stop - used.start, 16, 8)
        assert [[used.start + s, used.start + s + 16] for s in starts] == entry["slices"], depth
        compared += 1
    assert compared > 5


def test_label_maps_keep_their_outer_slices() -> None:
    labelled = VolumeFolder(label_suffix="_label", label_names=("a",), drop_outer=0.2)
    assert inner_slices(50, labelled) == slice(0, 50)
    assert inner_slices(50, VolumeFolder(drop_outer=0.2)) == slice(10, 40)
    assert inner_slices(50, VolumeFolder(drop_outer=0.0)) == slice(0, 50)
    assert inner_slices(2, VolumeFolder(drop_outer=0.4)) == slice(0, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 20), st.data())
def test_blending_constant_tiles_is_constant(slices: int, depth: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, depth))
    value = data.draw(st.floats(-3, 3, width=32))
    starts = tile_starts(slices, depth, stride)
    tiles = np.full((len(starts), 2, depth, 2, 3), value, np.float32)
    blended = blend(tiles, starts, slices)
    assert blended.shape == (2, slices, 2, 3)
    assert np.allclose(blended, value, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 50), st.integers(1, 16), st.sampled_from([(16, 20), (33, 48)]))
def test_blending_undoes_tiling(slices: int, stride: int, shape: tuple[int, int]) -> None:
    recipe = VolumeFolder(size=(16, 32, 48), stride=stride, modality="ct")
    volume = np.random.default_rng(slices).uniform(-1000, 1000, (slices, *shape)).astype(np.float32)
    starts, tiles = tiles_of(volume, recipe)
    assert {tile.shape for tile in tiles} == {(1, 16, 32, 48)}
    assert {tile.dtype for tile in tiles} == {np.dtype(np.float32)}
    expected = resize_in_plane(volume, 32, 48) / 1024
    assert np.allclose(blend(np.stack(tiles), starts, slices)[0], expected, atol=1e-5)


def test_slices_without_a_tile_are_zero_not_nan() -> None:
    blended = blend(np.ones((1, 1, 4, 2, 2), np.float32), [3], 10)
    assert np.allclose(blended[0, 3:7], 1)
    assert (blended[0, :3] == 0).all()
    assert (blended[0, 7:] == 0).all()


def test_a_tile_holds_the_slices_from_its_start() -> None:
    volume = np.repeat(np.arange(30, dtype=np.float32), 32 * 32).reshape(30, 32, 32) * 10
    starts, tiles = tiles_of(volume, VolumeFolder(modality="ct", size=(16, 32, 32), stride=8))
    for start, tile in zip(starts, tiles, strict=True):
        assert np.allclose(tile[0, :, 0, 0] * 1024, np.arange(start, start + 16) * 10)


def test_masks_lie_where_their_image_lies() -> None:
    volume = np.zeros((20, 100, 70), np.float32)
    volume[4:9, 30:61, 14:42] = 500
    labels = (volume > 0).astype(np.uint8) * 2
    recipe = VolumeFolder(size=(16, 64, 64), modality="ct", label_suffix="_l", label_names=("a", "b"))
    starts, tiles = tiles_of(volume, recipe)
    masks = mask_tiles_of(labels, 2, recipe)
    assert len(masks) == len(starts)
    for tile, mask in zip(tiles, masks, strict=True):
        assert mask.shape == (2, 16, 64, 64)
        assert mask.dtype == np.uint8
        assert not mask[0].any(), "label 2 goes to channel 1 alone"
        assert (mask[1] != (tile[0] > 250 / 1024)).mean() < 0.004
        if mask[1].any():
            assert ndimage.center_of_mass(mask[1]) == pytest.approx(ndimage.center_of_mass(tile[0]), abs=0.3)


def test_resizing_moves_nothing() -> None:
    ramp = np.tile(np.arange(40, dtype=np.float32), (2, 30, 1))
    for width in (20, 80, 33):
        found = resize_in_plane(ramp, 30, width)[0, 0]
        # the field of view is kept: voxel i of the new grid has its centre at (i + 0.5) * 40 / width
        centres = np.clip((np.arange(width) + 0.5) * 40 / width - 0.5, 0, 39)
        assert np.allclose(found, centres, atol=1e-4)


def test_percentile_rule() -> None:
    tile = np.random.default_rng(0).normal(300, 80, (4, 16, 16)).astype(np.float32)
    tile[0, 0, 0] = 1e6
    found = normalise(tile, "percentile_zscore")
    assert abs(float(found.mean())) < 1e-5
    assert float(found.std()) == pytest.approx(1, abs=1e-5)
    assert found.max() < 4, "one hot voxel must not flatten the rest"
    # units do not matter, not even tiny ones
    assert np.allclose(normalise(tile * np.float32(1e-9), "percentile_zscore"), found, atol=1e-3)


@given(st.floats(-1e5, 1e5, width=32))
def test_constant_tiles_become_zero(value: float) -> None:
    found = normalise(np.full((2, 5, 7), value, np.float32), "percentile_zscore")
    assert found.dtype == np.float32
    assert not found.any()


def test_hounsfield_rule() -> None:
    hu = np.array([[[-3024, -1024, 0, 512, 1024, 3071]]], np.float32)
    assert normalise(hu, "hounsfield").ravel().tolist() == [-1, -1, 0, 0.5, 1, 1]


def test_auto_intensity_follows_the_modality() -> None:
    assert intensity_rule(VolumeFolder(modality="ct")) == "hounsfield"
    assert intensity_rule(VolumeFolder(modality="mr")) == "percentile_zscore"
    assert intensity_rule(VolumeFolder(modality="ct", intensity="percentile_zscore")) == "percentile_zscore"


def test_a_later_channel_above_one_half_lies_above_earlier_ones() -> None:
    probabilities = np.array([[0.2, 0.6, 0.9, 0.5], [0.4, 0.1, 0.6, 0.5]], np.float32)
    masks = to_masks(probabilities)
    assert masks.tolist() == [[False, True, True, False], [False, False, True, False]]
    assert to_label_map(masks).tolist() == [0, 1, 2, 0]
