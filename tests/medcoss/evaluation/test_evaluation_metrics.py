"""Scores against cases that can be worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from medcoss.evaluation.bootstrap import classification_statistics, intervals, weighted_means
from medcoss.evaluation.calibration import reliability
from medcoss.evaluation.metrics import class_report, classification_scores, confusion, dice, hd95, surface_scores


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


def test_scores_of_several_classes_against_scikit_learn_and_by_hand() -> None:
    rng = np.random.default_rng(3)
    labels = np.array([0] * 30 + [1] * 12 + [2] * 5)
    raw = rng.random((47, 3)) + 0.6 * np.eye(3)[labels]
    given = np.round(raw / raw.sum(1, keepdims=True), 2)
    given[:, 2] = 1 - given[:, 0] - given[:, 1]
    found = classification_scores(given, labels)

    # Hand and Till: the mean over ordered pairs of the chance that class i scores higher on a member of i than of j
    def chance(i: int, j: int) -> float:
        gaps = given[labels == i, i][:, None] - given[labels == j, i][None]
        return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())

    pairs = [chance(i, j) for i in range(3) for j in range(3) if i != j]
    assert found["auc_ovo"] == pytest.approx(np.mean(pairs))
    # resamples are scored as the sample itself is: each case drawn once gives the same numbers
    statistics = classification_statistics(given, labels, ["a", "b", "c"])
    once = {name: value[0] for name, value in statistics(np.ones((1, 47))).items()}
    report = class_report(given, labels, ["a", "b", "c"])
    for name, value in found.items():
        assert once[name] == pytest.approx(value), name
    for row in report:
        for name in ("precision", "recall", "f1", "auc"):
            assert once[f"{name}/{row['class']}"] == pytest.approx(row[name])
    # and weights are multiplicities
    times = rng.integers(0, 3, 47)
    again = np.repeat(np.arange(47), times)
    for name, value in classification_scores(given[again], labels[again]).items():
        assert statistics(times[None].astype(float))[name][0] == pytest.approx(value), name


def test_calibration_by_hand() -> None:
    # bins of 1/15: four cases at 0.80 of which three are right, two at 0.55 of which none is
    given = np.array([[0.8, 0.2]] * 4 + [[0.45, 0.55]] * 2)
    labels = np.array([0, 0, 0, 1, 0, 0])
    assert classification_scores(given, labels)["ece"] == pytest.approx((4 * 0.05 + 2 * 0.55) / 6)
    low, high = reliability(given, labels)
    assert (low["cases"], low["confidence"], low["accuracy"]) == pytest.approx((2, 0.55, 0))
    assert (high["cases"], high["confidence"], high["accuracy"]) == pytest.approx((4, 0.8, 0.75))
    assert high["low"] < 0.8 <= high["high"] + 1e-9


def test_what_is_undefined_of_a_class_is_none() -> None:
    row, _, absent = class_report(probabilities([1, 1, 1], 3), np.array([0, 1, 1]), ["a", "b", "c"])
    assert (row["precision"], row["recall"], row["predicted"], row["cases"]) == (None, 0.0, 0, 1)
    assert (absent["precision"], absent["recall"], absent["f1"], absent["auc"]) == (None, None, None, None)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.5, 1.25)])
def test_surface_distances_are_those_of_monai(spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    first, second = box((2, 3, 4), (14, 15, 12)), box((4, 3, 2), (17, 13, 14))
    first ^= rng.random(first.shape) < 0.01
    found = surface_scores(first, second, spacing)
    pair = [torch.from_numpy(m.astype(np.float32))[None, None] for m in (first, second)]
    assert found is not None
    expected = compute_hausdorff_distance(*pair, percentile=95, spacing=list(spacing))
    assert found.hd95 == pytest.approx(float(expected), rel=1e-5)
    expected = compute_average_surface_distance(*pair, symmetric=True, spacing=list(spacing))
    assert found.assd == pytest.approx(float(expected), rel=1e-5)


# intervals


def test_the_interval_of_a_mean_is_that_of_theory() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    (low, high) = intervals(weighted_means({"x": list(values)}), [str(i) for i in range(400)], 2000, 0)["x"]
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert intervals(weighted_means({"x": list(values)}), [str(i) for i in range(400)], 2000, 0)["x"] == (low, high)
    assert intervals(weighted_means({"x": list(values)}), [str(i) for i in range(400)], 2000, 1)["x"] != (low, high)


def test_the_cases_of_a_patient_are_drawn_together() -> None:
    values, patients = list(np.repeat([0.0, 1.0, 2.0, 3.0], 25)), list(np.repeat(list("abcd"), 25))
    apart = intervals(weighted_means({"x": values}), [str(i) for i in range(100)], 1000, 0)["x"]
    together = intervals(weighted_means({"x": values}), patients, 1000, 0)["x"]
    assert together[1] - together[0] > 4 * (apart[1] - apart[0]), "100 copies of 4 patients are no 100 patients"


def test_no_interval_where_there_is_nothing_to_draw_from() -> None:
    assert intervals(weighted_means({"x": [1.0, 2.0]}), ["one", "one"], 100, 0) == {}
    assert intervals(weighted_means({"x": [1.0, 2.0]}), ["a", "b"], 0, 0) == {}
    rare = weighted_means({"seldom": [1.0, *[None] * 9], "never": [None] * 10})
    assert "never" not in intervals(rare, list("abcdefghij"), 200, 0)
