"""The preprocessing benchmark measures two ways to the same tiles. Speed is not asserted."""

import numpy as np
import pytest

from benchmarks import preprocess


def test_a_row_for_each_convention(capsys: pytest.CaptureFixture[str]) -> None:
    assert preprocess.main(["--count", "1", "--slices", "8", "--side", "40", "--workers", "1", "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.startswith(("right", "published"))]
    assert [len(row) for row in rows] == [7, 7] and "the same tiles" in text
    for row in rows:
        assert float(row[4]) == pytest.approx(float(row[2]) / float(row[1]), rel=0.2)


def test_other_tiles_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = preprocess.restated
    monkeypatch.setattr(
        preprocess, "restated", lambda image, published: [np.float32(1e-3) + tile for tile in right(image, published)]
    )
    assert preprocess.main(["--count", "1", "--slices", "8", "--side", "40", "--workers", "1", "--repeats", "1"]) == 1
    assert "the tiles DIFFER" in capsys.readouterr().out
