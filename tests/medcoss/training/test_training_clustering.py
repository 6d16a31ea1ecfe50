"""k-means of features: as good as scikit-learn's, the same every time, from disk."""

import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from medcoss.run import LocalRun, Stopped
from medcoss.training.clustering import Clustering, cluster

Floats = NDArray[np.float32]
RUN = LocalRun(Path("unused"))


def groups(count: int, samples: int, width: int, spread: float, seed: int = 0) -> Floats:
    """Gaussian groups of unequal sizes with a decaying spectrum."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, width + 1) ** -0.75
    sizes = rng.pareto(1.5, count) + 0.2
    group = rng.choice(count, samples, p=sizes / sizes.sum())
    values = rng.normal(size=(count, width))[group] + spread * rng.normal(size=(samples, width))
    return np.asarray(values * scale, dtype=np.float32)


def exact_inertia(values: Floats, centres: Floats) -> float:
    """Sum of the squared distances to the nearest centre, in float64."""
    differences = values[:, None].astype(np.float64) - centres[None]
    return float(np.square(differences).sum(axis=2).min(axis=1).sum())


@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0], ids=["separated", "near", "overlapping"])
def test_inertia_is_that_of_scikit_learn_or_less(spread: float) -> None:
    values = groups(40, 2500, 32, spread)
    expected = [KMeans(25, random_state=seed, n_init=1).fit(values).inertia_ for seed in range(4)]
    found = [cluster(values.copy(), 25, seed, RUN).inertia for seed in range(4)]
    assert np.mean(found) <= 1.02 * np.mean(expected)


def test_few_centres_are_as_good_as_the_best_of_many_starts() -> None:
    values = groups(12, 400, 16, 0.3)
    best = KMeans(9, random_state=0, n_init=30).fit(values).inertia_
    # single starts of scikit-learn end up to 11 % above it
    assert all(cluster(values.copy(), 9, seed, RUN).inertia <= 1.02 * best for seed in range(6))


def test_every_group_that_stands_apart_is_found() -> None:
    values, group, true = make_blobs(3000, 48, centers=60, cluster_std=0.5, random_state=0, return_centers=True)
    for seed in range(4):
        found = cluster(values.astype(np.float32), 60, seed, RUN)
        assert found.inertia <= np.square(values - true[group]).sum()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5), st.integers(0, 99))
def test_the_parts_of_a_clustering_fit_together(samples: int, clusters: int, distinct: int, seed: int) -> None:
    # also with fewer different samples than clusters, down to all alike
    clusters = min(clusters, samples)
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(samples, 3)).astype(np.float32)
    if distinct:
        values = values[rng.integers(0, min(distinct, samples), samples)]
    original = values.copy()
    found = cluster(values, clusters, seed, RUN)
    assert found.centres.shape == (clusters, 3)
    assert np.isfinite(found.centres).all()
    assert np.allclose(values, original - original.mean(axis=0, dtype=np.float64), atol=1e-6)
    to_all = np.linalg.norm(values[:, None] - found.centres[None], axis=2)
    assert np.allclose(found.distance, to_all[np.arange(samples), found.assignment], atol=1e-6)
    assert (found.distance <= to_all.min(axis=1) + 1e-3).all()
    assert found.inertia == pytest.approx(np.square(found.distance).sum(), rel=1e-5, abs=1e-9)


def same(first: Clustering, second: Clustering) -> bool:
    return all(np.array_equal(getattr(first, n), getattr(second, n)) for n in ("centres", "assignment", "distance"))


def test_seed_and_values_decide_alone() -> None:
    values = groups(60, 4000, 96, 0.5)
    threads = torch.get_num_threads()
    try:
        made = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            made.append(cluster(values.copy(), 40, 7, RUN))
    finally:
        torch.set_num_threads(threads)
    assert same(made[0], made[1])
    assert same(made[1], made[2])
    assert not same(made[0], cluster(values.copy(), 40, 8, RUN))


def test_a_common_offset_costs_no_accuracy() -> None:
    # features of one modality point the same way; squared norms in float32 would drown the differences
    values = groups(30, 1500, 24, 0.2)
    far = cluster(values + np.float32(3000), 20, 0, RUN)
    assert far.inertia <= 1.05 * cluster(values.copy(), 20, 0, RUN).inertia


def test_features_on_disk_are_not_copied_to_memory(tmp_path: Path) -> None:
    # much more than what else a process takes and gives back meanwhile
    shape = (100_000, 512)
    values = np.memmap(tmp_path / "features", np.float32, "w+", shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, shape[0], 5000):
        values[start : start + 5000] = rng.standard_normal((5000, shape[1]), dtype=np.float32)
    cluster(values[:2000], 4, 0, RUN)
    before, peak, done = own_memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cluster(values, 4, 0, RUN)
    finally:
        done.set()
        watcher.join()
    assert 0 < peak[0] - before < values.nbytes / 2


def own_memory() -> int:
    """Bytes of this process that are no file's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def test_stops_between_two_iterations() -> None:
    with pytest.raises(Stopped):
        cluster(groups(3, 50, 4, 1), 3, 0, LocalRun(Path("unused"), stop_requested=True))


def test_faiss_and_simpleitk_live_in_one_process() -> None:
    # true when this file runs alone, too: the order of their imports decides
    assert SimpleITK.VectorFloat([1.5, 2.5])[1] == 2.5
    assert cluster(groups(3, 50, 4, 1), 3, 0, RUN).centres.shape == (3, 4)
