"""Scores against cases that can be worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcoss.evaluation.metrics import classification_scores, confusion, dice, hd95


def box(low: tuple[int, ...], high: tuple[int, ...], shape: tuple[int, ...] = (24, 24, 24)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [1, 4])
def test_a_shifted_cube(axis: int, shift: int) -> None:
    spacing = (3.0, 0.5, 1.25)
    low, high = [6, 6, 6], [16, 16, 16]
    cube = box(tuple(low), tuple(high))
    low[axis] += shift
    high[axis] += shift
    moved = box(tuple(low), tuple(high))
    assert dice(cube, moved) == pytest.approx((10 - shift) / 10)
    # a tenth or more of the surface is the face that moved by `shift` voxels
    assert hd95(cube, moved, spacing) == pytest.approx(shift * spacing[axis], rel=1e-5)
    assert hd95(moved, cube, spacing) == pytest.approx(shift * spacing[axis], rel=1e-5)


def test_equal_masks() -> None:
    cube = box((2, 3, 4), (9, 8, 7))
    assert dice(cube, cube) == 1
    assert hd95(cube, cube, (1.0, 1.0, 1.0)) == 0


def test_apart_masks_in_two_dimensions() -> None:
    first, second = box((2, 2), (4, 4), (30, 30)), box((2, 22), (4, 24), (30, 30))
    assert dice(first, second) == 0
    assert hd95(first, second, (1.0, 0.5)) == pytest.approx(10, abs=0.5)


def test_a_few_outliers_do_not_decide() -> None:
    cube = box((2, 2, 2), (14, 14, 14))
    spotted = cube.copy()
    spotted[23, 23, 23] = True
    distance = hd95(spotted, cube, (1.0, 1.0, 1.0))
    assert distance is not None
    assert distance < 1


def test_the_worse_direction_counts() -> None:
    small, large = box((2, 2, 2), (5, 5, 5)), box((2, 2, 2), (5, 5, 20))
    assert hd95(small, large, (1.0, 1.0, 1.0)) == hd95(large, small, (1.0, 1.0, 1.0))
    assert hd95(small, large, (1.0, 1.0, 1.0)) == pytest.approx(14, abs=1.0)


def test_empty_masks() -> None:
    cube, empty = box((1, 1, 1), (3, 3, 3)), np.zeros((24, 24, 24), bool)
    assert dice(empty, empty) == 1
    assert dice(cube, empty) == 0
    assert hd95(cube, empty, (1.0, 1.0, 1.0)) is None
    assert hd95(empty, cube, (1.0, 1.0, 1.0)) is None


@given(st.integers(0, 9999))
def test_dice_is_symmetric_and_bounded(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.random((2, 5, 6)) < rng.random((2, 1, 1))
    assert dice(first, second) == dice(second, first)
    assert 0 <= dice(first, second) <= 1
    assert dice(first, first) == 1


# classification


def probabilities(predicted: list[int], classes: int, sure: float = 0.8) -> np.ndarray:
    rest = (1 - sure) / (classes - 1)
    return np.array([[sure if k == p else rest for k in range(classes)] for p in predicted])


def test_scores_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    found = classification_scores(probabilities([0, 0, 1, 1, 0, 2], 3), labels)
    assert found["accuracy"] == pytest.approx(4 / 6)
    # class 0: precision 2/3, recall 2/3; class 1: 1/2, 1/2; class 2: 1, 1
    assert found["f1"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert confusion(probabilities([0, 0, 1, 1, 0, 2], 3), labels) == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_binary_auc_is_the_chance_of_the_right_order() -> None:
    positive = np.array([0.1, 0.4, 0.35, 0.8])
    found = classification_scores(np.stack([1 - positive, positive], axis=1), np.array([0, 0, 1, 1]))
    assert found["auc"] == pytest.approx(3 / 4)


def test_auc_of_several_classes_is_one_for_perfect_answers() -> None:
    labels = np.array([0, 1, 2, 2, 1])
    assert classification_scores(probabilities(list(labels), 3), labels)["auc"] == 1
    flipped = classification_scores(probabilities([1, 0, 0, 1, 2], 3), labels)
    assert flipped["auc"] < 0.5


def test_a_class_that_does_not_occur_costs_nothing() -> None:
    labels = np.array([0, 1, 1])
    found = classification_scores(probabilities([0, 1, 1], 3), labels)
    assert found["f1"] == 1
    assert found["accuracy"] == 1
    assert "auc" not in found, "no ranking of a class without members"
    wrong = classification_scores(probabilities([0, 1, 2], 3), labels)
    assert wrong["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3), "but predicting it does"
