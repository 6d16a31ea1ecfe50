"""The benchmark of sliding windows compares the same masks. Speed is not asserted."""

import numpy as np
import pytest

from benchmarks import sliding_window
from medcoss.evaluation.windows import Sliding, slide

SMALL = ["--volume", "24", "32", "32", "--window", "16", "32", "32", "--least", "0"]


def test_both_sides_make_the_same_mask(capsys: pytest.CaptureFixture[str]) -> None:
    assert sliding_window.main(SMALL) == 0
    text = capsys.readouterr().out
    assert "\n0 of 24576 voxels" in text
    assert "peak memory" in text and "by CPU seconds" in text


def test_a_small_ratio_and_other_masks_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sliding_window.main([*SMALL, "--least", "1e9"]) == 1

    def shifted(model: object, volume: np.ndarray, how: Sliding, device: object) -> np.ndarray:
        return np.roll(slide(model, volume, how), 3, axis=1)  # type: ignore[arg-type]

    monkeypatch.setattr(sliding_window, "slide", shifted)
    assert sliding_window.main(SMALL) == 1
