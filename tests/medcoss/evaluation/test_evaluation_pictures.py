"""What is drawn: the right cases and slices, curves that agree with the scores, also where classes are missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medcoss.evaluation import gallery, pictures
from medcoss.evaluation.gallery import Gallery, shot_of
from medcoss.evaluation.metrics import classification_scores
from medcoss.evaluation.predict import Case


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved, which are saved all the same."""
    kept: list[Figure] = []
    save = pictures.save

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        save(figure, path)

    monkeypatch.setattr(pictures, "save", keep)
    monkeypatch.setattr(gallery, "save", keep)
    return kept


def legend(axis: Axes) -> list[str]:
    found = axis.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_a_curve_a_class_and_their_mean_with_the_areas_of_the_scores(drawn: list[Figure], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=60)
    odds = rng.random((60, 3)) + 0.5 * np.eye(3)[labels]
    probabilities = odds / odds.sum(1, keepdims=True)
    pictures.draw_roc(probabilities, labels, ["a", "b", "c"], {"auc": (0.5, 0.875)}, tmp_path / "roc.png")
    mean = classification_scores(probabilities, labels)["auc"]
    words = legend(drawn[0].axes[1])
    assert len(words) == 5 and words[-1] == f"macro average: {mean:.3f} [0.500, 0.875]"
    assert words[1].startswith(f"a ({(labels == 0).sum()}): 0.")
    # nobody is of the last class
    labels = labels % 2
    pictures.draw_roc(probabilities, labels, ["a", "b", "c"], {}, tmp_path / "roc.png")
    assert legend(drawn[1].axes[1])[3] == "c: no curve (one class only)"


def test_a_confusion_matrix_has_counts_and_shares(drawn: list[Figure], tmp_path: Path) -> None:
    pictures.draw_confusion([[3, 1], [0, 0]], ["normal", "x" * 40], tmp_path / "confusion.png")
    counts, shares = drawn[0].axes[:2]
    assert [text.get_text() for text in counts.texts] == ["3", "1", "0", "0"]
    assert [text.get_text() for text in shares.texts] == ["75.0", "25.0", "-", "-"]
    assert len(counts.get_xticklabels()[1].get_text()) == pictures.LONGEST_NAME


def box(size: int, at: tuple[int, int, int] = (4, 8, 8)) -> Any:
    mask = np.zeros((12, 32, 24), bool)
    mask[tuple(slice(start, start + size) for start in at)] = True
    return mask


def test_the_slice_with_the_largest_true_area_is_drawn() -> None:
    reference = box(3) | box(6, (9, 4, 4))[: len(box(3))]
    case = Case("c", np.zeros((12, 32, 24), np.float32), box(9)[None], reference[None], (3.0, 1.0, 0.5))
    shot = shot_of(case, {"box": 0.5})
    assert shot.place == (10, 12) and shot.spacing == (1.0, 0.5)
    assert np.array_equal(shot.reference[0], reference[9]) and np.array_equal(shot.predicted[0], box(9)[9])
    nothing = Case("c", case.image, case.predicted_masks, np.zeros_like(case.reference_masks), case.spacing)
    assert shot_of(nothing, {"box": 0.0}).place == (5, 12), "the first slice of the prediction"


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.2, 0.7, 0.8, 0.5], ["Best: case0, slice 5 of 12", "Median: case2, slice 5 of 12",
                                     "Worst: case1, slice 5 of 12"]),
        ([0.9, 0.2], ["Best: case0, slice 5 of 12", "Worst: case1, slice 5 of 12"]),
        ([0.9], ["Only: case0, slice 5 of 12"]),
    ],
)  # fmt: skip
def test_the_best_the_median_and_the_worst_case_are_drawn(drawn: list[Figure], tmp_path: Path, scores: list[float],
                                                          expected: list[str]) -> None:  # fmt: skip
    shown = Gallery(["box"], "mm", tmp_path)
    image = np.random.default_rng(0).random((12, 32, 24), np.float32)
    for number, score in enumerate(scores):
        case = Case(f"case{number}", image, box(4)[None], box(5)[None], (3.0, 1.0, 0.5))
        shown.add(case, [{"class": "box", "dice": score}])
    # what has no structure is no best case
    empty = np.zeros((1, 12, 32, 24), bool)
    shown.add(Case("empty", image, empty, empty, (3.0, 1.0, 0.5)), [{"class": "box", "dice": 1.0}])
    shown.draw(tmp_path / "overlay.png")
    assert [axis.get_title() for axis in drawn[0].axes[::2]] == expected
    assert drawn[0].axes[1].get_title() == f"Dice {scores[0]:.3f}"
    assert drawn[0].axes[0].get_xlabel() == "x [mm]" and drawn[0].axes[0].get_xlim() == (0, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["overlay.png"]
