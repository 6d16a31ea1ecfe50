"""The k-means benchmark: both sides do the work that it says, on little data. Speed is not asserted."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans

from benchmarks import kmeans


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The benchmark sets the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_row_for_each_seed_and_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    assert kmeans.main(["--samples", "900", "--dim", "16", "--clusters", "6", "--seeds", "2", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "1 threads; python" in text
    assert "900 x 16, 6 clusters, quota 5" in text
    rows = [line.split() for line in text.splitlines() if re.match(r" +[01] ", line)]
    assert [len(row) for row in rows] == [10, 10]
    for row in rows:
        assert float(row[-1].rstrip("%")) == pytest.approx(100 * (float(row[-2]) / float(row[-3]) - 1), abs=0.02)


def test_inertia_is_that_of_the_centres() -> None:
    values = kmeans.synthetic(500, 12, 8, (0.4, 1.2))
    fitted = KMeans(5, random_state=0).fit(values)
    assert kmeans.inertia(values, fitted.cluster_centers_) == pytest.approx(fitted.inertia_, rel=1e-5)


def test_features_of_crops_differ_and_come_again(tmp_path: Path) -> None:
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 255, (90, 70)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    first, again = (kmeans.crops(tmp_path, 5, batch=2) for _ in range(2))
    assert first.shape == (5, 768)
    assert np.array_equal(first, again)
    assert len(np.unique(first, axis=0)) == 5
