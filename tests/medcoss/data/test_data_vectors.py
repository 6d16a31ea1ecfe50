"""The nearest vectors: exactly, through a graph as good as exactly, and among those that a filter leaves."""

from pathlib import Path

import numpy as np
import pytest

from medcoss.data import vectors
from medcoss.data.vectors import Vectors, build, numbers_where, unit
from medcoss.run import BadInput

COUNT, WIDTH = 4000, 64


@pytest.fixture(scope="module")
def units() -> vectors.Floats:
    """Vectors in clusters, as embeddings are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, WIDTH))
    return unit((centres[rng.integers(0, 40, COUNT)] + 0.7 * rng.normal(size=(COUNT, WIDTH))).astype(np.float32))


def brute_force(units: vectors.Floats, query: vectors.Floats, k: int, among: vectors.Ids | None = None) -> list[int]:
    places = np.arange(len(units)) if among is None else among
    return [int(i) for i in places[np.argsort(-(units[places] @ unit(query[None])[0]), kind="stable")[:k]]]


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_the_nearest_are_found(units: vectors.Floats, method: str, tmp_path: Path) -> None:
    build(units, method, tmp_path)
    index = Vectors.read(tmp_path)
    assert (len(index), index.width, index.approximate) == (COUNT, WIDTH, method == "approximate")
    rng = np.random.default_rng(1)
    queries = units[:60] * 3 + 0.1 * rng.normal(size=(60, WIDTH)).astype(np.float32)
    hits = 0
    for query in queries:
        numbers, scores, whole = index.search(query, 10)
        assert whole == (method == "exact")
        np.testing.assert_allclose(scores, units[numbers] @ unit(query[None])[0], atol=1e-5)
        assert (np.diff(scores) <= 0).all()
        hits += len({*numbers.tolist()} & {*brute_force(units, query, 10)})
    # of 600 neighbours: all by comparing, nearly all through the graph
    assert hits == 600 if method == "exact" else hits > 570

    numbers, scores, _ = index.search(units[7], 1)
    assert numbers.tolist() == [7] and scores[0] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(index.vector(7), units[7], atol=1e-6)
    numbers, _, whole = index.search(queries[3], 10, exact=True)
    assert whole and numbers.tolist() == brute_force(units, queries[3], 10)


@pytest.mark.parametrize("method", ["exact", "approximate"])
def test_a_filter_hides_nothing_that_passes_it(units: vectors.Floats, method: str, tmp_path: Path) -> None:
    build(units, method, tmp_path)
    index = Vectors.read(tmp_path)
    among = np.arange(5, COUNT, 97)
    numbers, _, whole = index.search(units[0], 12, among)
    assert whole and numbers.tolist() == brute_force(units, units[0], 12, among)
    assert len(index.search(units[0], 10, np.array([1, 2]))[0]) == 2
    assert len(index.search(units[0], 10, np.array([], np.int64))[0]) == 0
    assert len(index.search(units[0], 2 * COUNT, exact=True)[0]) == COUNT


def test_filters_go_together() -> None:
    split, label = np.array(["train", "test", "test"], object), np.array(["a", "a", "b"], object)
    assert numbers_where([]) is None
    found = numbers_where([(split, ["test"]), (label, ["a", "b"])])
    assert found is not None and found.tolist() == [1, 2]
    found = numbers_where([(split, ["test"]), (label, ["c"])])
    assert found is not None and found.tolist() == []


def test_a_vector_without_direction_is_refused() -> None:
    with pytest.raises(BadInput, match="vector 1 has no direction: its length is 0"):
        unit(np.array([[1, 2], [0, 0]], np.float32))
