"""nnU-Net's rules, against a plain restatement of what its first version does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from skimage.transform import resize

from medcoss.preprocess.nnunet import (
    LITS_SPACING,
    Foreground,
    Spacing,
    coarse_axis,
    crop_to_nonzero,
    new_shape,
    normalise_case,
    normalise_ct,
    resample_labels,
    resample_volume,
)
from medcoss.run import BadInput

SHAPE = (7, 20, 24)
TIE = -9
PLACES = [  # spacing, target, the coarse axis
    ((2.5, 0.7, 0.9), LITS_SPACING, 0),
    ((2.0, 0.9, 0.7), LITS_SPACING, None),
    ((0.7, 1.4, 0.6), (1.0, 1.0, 1.0), None),
    ((0.8, 0.8, 0.8), (3.0, 0.7, 0.9), 0),
    ((1.0, 1.0, 4.0), (1.0, 0.8, 1.0), 2),
    ((4.0, 4.0, 1.0), (1.5, 0.8, 0.8), None),
]


def plain(volume: NDArray, spacing: Spacing, target: Spacing, labels: bool) -> NDArray:
    """The published resampling: slice by slice in separate mode, voxel by voxel along the coarse axis."""
    size = tuple(np.round(np.array(volume.shape) * spacing / np.array(target)).astype(int))
    axis = coarse_axis(spacing, target)
    if axis is None:
        return plain_resize(volume, size, labels)
    volume, swapped = np.moveaxis(volume, axis, 0), np.moveaxis(np.empty(size), axis, 0).shape
    planes = np.stack([plain_resize(one, swapped[1:], labels) for one in volume])
    places = np.stack(np.meshgrid(*map(np.arange, swapped), indexing="ij")).astype(float)
    places[0] = (places[0] + 0.5) * len(volume) / swapped[0] - 0.5
    return np.moveaxis(map_coordinates(planes, places, order=0, mode="nearest"), 0, axis)


def plain_resize(array: NDArray, size: tuple[int, ...], labels: bool) -> NDArray:
    options = {"mode": "edge", "anti_aliasing": False, "clip": True, "preserve_range": True}
    if not labels:
        return resize(array.astype(float), size, order=3, **options)
    found = np.zeros(size, int)
    for label in np.unique(array):
        share = resize((array == label).astype(float), size, order=1, **options)
        found[share >= 0.5] = label
        # exactly one half: the last digit decides
        found[(np.abs(share - 0.5) < 1e-6) & (found >= 0)] = TIE
        found[(share > 0.5 + 1e-6)] = label
    return found


@pytest.mark.parametrize(("spacing", "target", "axis"), PLACES)
def test_resampling_is_the_published_one(spacing: Spacing, target: Spacing, axis: int | None) -> None:
    assert coarse_axis(spacing, target) == axis
    rng = np.random.default_rng(0)
    volume = rng.integers(-1000, 1000, SHAPE).astype(np.int16)
    labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
    labels[2:5, 3:12, 4:19] = 2
    found, expected = resample_volume(volume, spacing, target), plain(volume, spacing, target, labels=False)
    assert found.dtype == np.float32 and found.shape == expected.shape == new_shape(SHAPE, spacing, target)
    assert np.abs(found - expected).max() < 2e-2
    plainly = plain(labels, spacing, target, labels=True)
    sure = plainly != TIE
    as_published, right = (resample_labels(labels, spacing, target, published) for published in (True, False))
    assert np.array_equal(as_published[sure], plainly[sure]) and sure.mean() > 0.5
    # where one label has more than half, both take it; where none has, the published one is 0
    decided = sure & (plainly > 0)
    assert np.array_equal(right[decided], plainly[decided]) and decided.mean() > 0.2


def test_the_likeliest_label_wins_where_none_has_half() -> None:
    labels = np.array([[[1, 2], [3, 2]]], np.uint8).repeat(2, 0)
    right = resample_labels(labels, (1.0, 1.0, 1.0), (1.0, 2.0, 2.0))
    assert right.tolist() == [[[2]], [[2]]]
    labels = np.array([[[1, 2, 3]]], np.uint8).repeat(2, 0).repeat(2, 1)
    assert resample_labels(labels, (1.0, 1.0, 1.0), (1.0, 1.0, 3.0))[0, 0].tolist() == [2]
    four = np.array([[[4, 1], [3, 2]]], np.uint8).repeat(2, 0)
    assert resample_labels(four, (1.0, 1.0, 1.0), (1.0, 2.0, 2.0)).tolist() == [[[1]], [[1]]]
    assert resample_labels(four, (1.0, 1.0, 1.0), (1.0, 2.0, 2.0), published=True).tolist() == [[[0]], [[0]]]


def test_nothing_changes_at_the_spacing_that_it_has() -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.uint8)
    assert np.array_equal(resample_labels(labels, LITS_SPACING, LITS_SPACING), labels)
    assert np.array_equal(resample_volume(labels, LITS_SPACING, LITS_SPACING), labels)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-1200, 3000), min_size=1, max_size=60), min_size=1, max_size=5))
def test_a_fingerprint_of_merged_histograms_is_that_of_all_voxels(cases: list[list[int]]) -> None:
    total = Foreground()
    for values in cases:
        part = Foreground()
        volume = np.array([*values, 9999], np.int16)
        part.add(volume, np.array([*[2] * len(values), 0]))
        total.merge(part)
    voxels = np.concatenate(cases)
    found = total.fingerprint()
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(voxels, (0.5, 99.5))))
    assert (found.mean, found.std) == pytest.approx((voxels.mean(), voxels.std()))


def test_ct_is_clipped_and_scored_by_the_fingerprint() -> None:
    gathered = Foreground()
    volume = np.arange(-500, 500).reshape(10, 10, 10)
    gathered.add(volume, np.ones_like(volume))
    found = gathered.fingerprint()
    scored = normalise_ct(volume, found)
    assert scored.dtype == np.float32 and scored.max() == pytest.approx((found.high - found.mean) / found.std)
    tenth = Foreground()
    tenth.add(volume, np.ones_like(volume), published=True)
    assert tenth.counts.sum() == 100
    with pytest.raises(BadInput, match="no case has a labelled voxel"):
        Foreground().fingerprint()


def test_what_is_zero_around_is_cut_off() -> None:
    volume = np.zeros((8, 10, 12), np.float32)
    volume[2:5, 3:9, 1:7] = 5
    volume[3, 5, 4] = 0  # a hole belongs to the body
    labels = np.zeros(volume.shape, np.uint8)
    labels[3, 4, 4] = 2
    volume[4, 3, 1] = 0  # a corner does not
    cut = crop_to_nonzero(volume, labels)
    assert cut.box == (slice(2, 5), slice(3, 9), slice(1, 7)) and cut.masked
    assert cut.mask[1, 2, 3] and not cut.mask[2, 0, 0] and cut.labels.max() == 2 and cut.labels.min() == 0
    published = crop_to_nonzero(volume, labels, published=True).labels
    assert published[2, 0, 0] == -1 and (published == -1).sum() == 1 and published.max() == 2
    assert not crop_to_nonzero(np.ones((4, 4, 4)), np.zeros((4, 4, 4), np.uint8)).masked
    with pytest.raises(BadInput, match="0 everywhere"):
        crop_to_nonzero(np.zeros((4, 4, 4)), labels)


def test_a_case_is_scored_by_itself() -> None:
    volume = np.random.default_rng(0).normal(7, 3, (5, 6, 7))
    assert normalise_case(volume).mean() == pytest.approx(0, abs=1e-5)
    mask = volume > 6
    scored = normalise_case(volume, mask)
    assert scored[mask].std() == pytest.approx(1, abs=1e-5) and not scored[~mask].any()
