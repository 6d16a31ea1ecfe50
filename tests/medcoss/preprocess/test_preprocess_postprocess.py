"""Post-processing takes away, never adds, and keeps what it says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import TypeAdapter, ValidationError
from scipy import ndimage

from medcoss.preprocess.postprocess import largest_component, postprocessed, without_small
from medcoss.specs.postprocess import LargestComponent, RemoveSmall, Steps, Within, unknown

MASKS = array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(lambda shape: arrays(bool, shape))
LIVER = [LargestComponent(of="liver"), Within(of="tumour", organ="liver")]


def sizes(mask: np.ndarray) -> list[int]:
    labels, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return np.bincount(labels.ravel())[1:].tolist()


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_the_largest_part_stays_alone(mask: np.ndarray) -> None:
    found, all_sizes = largest_component(mask), sizes(mask)
    assert not (found & ~mask).any()
    assert sizes(found) == ([max(all_sizes)] if all_sizes else [])
    assert np.array_equal(largest_component(found), found)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.integers(1, 12))
def test_the_parts_that_stay_are_those_that_are_large_enough(mask: np.ndarray, voxels: int) -> None:
    found = without_small(mask, voxels)
    assert not (found & ~mask).any()
    assert sorted(sizes(found)) == sorted(n for n in sizes(mask) if n >= voxels)


@settings(max_examples=30, deadline=None)
@given(arrays(bool, (2, 4, 6, 6)))
def test_a_tumour_lies_in_one_liver(masks: np.ndarray) -> None:
    liver, tumour = postprocessed(masks, ["liver", "tumour"], LIVER, (1, 1, 1))
    assert len(sizes(liver)) <= 1
    assert np.array_equal(tumour, masks[1] & liver)


def test_steps_follow_each_other_and_sizes_are_in_mm() -> None:
    masks = np.zeros((2, 4, 20, 20), bool)
    masks[0, :, 1:12, 1:12] = True
    masks[0, :, 15:18, 15:18] = True
    masks[1, :2, 3:5, 3:5] = True  # 8 voxels within the liver
    masks[1, 3, 9, 9] = True  # one
    masks[1, :, 15:18, 15:18] = True  # in what is no liver
    given = masks.copy()
    spacing, classes = (2.5, 0.8, 0.8), ["liver", "tumour"]
    # of eight voxels' volume
    steps = [*LIVER, RemoveSmall(of="tumour", below=8 * 2.5 * 0.8 * 0.8)]
    liver, tumour = postprocessed(masks, classes, steps, spacing)
    assert liver.sum() == 4 * 121 and tumour.sum() == 8
    assert postprocessed(masks, classes, [*LIVER, RemoveSmall(of="tumour", below=13)], spacing)[1].sum() == 0
    # the other way round the tumour is cut by a liver that is not final yet
    assert postprocessed(masks, classes, LIVER[::-1], spacing)[1].sum() == 9 + 36
    assert np.array_equal(masks, given), "what was predicted is not changed"


def test_steps_are_data_and_name_classes_that_there_are() -> None:
    steps = TypeAdapter(Steps).validate_python(
        [{"step": "largest_component", "of": "liver"}, {"step": "within", "of": "tumor", "organ": "liver"}]
    )
    assert list(unknown(steps, ["liver", "tumour"])) == [(1, "tumor")]
    by_place = [LargestComponent(of=0), Within(of=1, organ=0)]
    assert list(unknown(by_place, ["organ"])) == [(1, 1)]
    masks = np.random.default_rng(0).random((2, 4, 9, 9)) > 0.8
    assert np.array_equal(
        postprocessed(masks, ["liver", "tumour"], by_place, (1, 1, 1)),
        postprocessed(masks, ["liver", "tumour"], LIVER, (1, 1, 1)),
    )
    with pytest.raises(ValidationError, match="largest_component"):
        TypeAdapter(Steps).validate_python([{"step": "biggest", "of": "liver"}])
    with pytest.raises(ValidationError, match="greater than 0"):
        RemoveSmall(of="tumour", below=0)
