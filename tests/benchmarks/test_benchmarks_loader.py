"""The loader's benchmark reads the same crops in every way. Speed is not asserted."""

import numpy as np
import pytest

from benchmarks import loader

SMALL = ["--count", "1", "--slices", "14", "--side", "40", "--seconds", "0.01", "--turns", "1", "--least", "0",
         "--batch", "2", "--steps", "2", "--workers", "1"]  # fmt: skip


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of size base takes long on a CPU, and is not measured there."""
    monkeypatch.setattr(loader, "step_rate", lambda batch, steps, folder: None)


def test_a_row_for_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert loader.main(SMALL) == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if ": a file a " in line]
    assert len(rows) >= 4 and "the same crops" in text
    ours = next(float(line.split()[2]) for line in text.splitlines() if line.startswith("our shards"))
    for row in rows:
        assert float(row[-1]) == pytest.approx(ours / float(row[-3]), rel=0.2, abs=0.1)
    assert text.count("samples/s") >= 4 and "no GPU: the rate of the step is not measured" in text


def test_other_crops_and_a_slow_loader_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loader.main([*SMALL, "--least", "1e9"]) == 1
    right = loader.by_itk
    monkeypatch.setattr(loader, "by_itk", lambda path: right(path) + np.float32(1e-3))
    assert loader.main(SMALL) == 1
    assert "the crops DIFFER" in capsys.readouterr().out
