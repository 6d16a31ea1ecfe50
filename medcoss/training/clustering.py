"""k-means over features that lie on disk, by faiss, on all cores or on the GPUs of a faiss built for them."""

from collections.abc import Iterator
from dataclasses import dataclass

# isort: off
# both wrap std::vector by SWIG, in one table of types: with SimpleITK imported after faiss, neither reads its own
import SimpleITK  # noqa: F401
import faiss

# isort: on
import numpy as np
import torch
from numpy.typing import NDArray

from medcoss.run import RunContext, Stopped

Floats = NDArray[np.float32]
ROWS = 4096
_FIRST, _BETWEEN, _ROUNDS, _LAST = 3, 2, 10, 100
_ENOUGH = 5e-4
_SPLIT_ROWS = 8192
FEW, STARTS = 64, 8


@dataclass(frozen=True)
class Clustering:
    """Centres (k, d), the centre of each sample (N,), its distance to it (N,), and the sum of their squares."""

    centres: Floats
    assignment: NDArray[np.int64]
    distance: NDArray[np.floating]
    inertia: float


def cluster(values: Floats, clusters: int, seed: int, context: RunContext) -> Clustering:
    """k-means of `values` (N, d) into `clusters` groups.

    `values` may be memory-mapped; they are read in pieces, and shifted in place to have mean zero, which moves no
    sample relative to another and keeps float32 distances exact. Starts from AFK-MC2, an approximate k-means++
    (Bachem et al., NIPS 2016), then alternates a few Lloyd iterations with moving surplus centres to where they
    help most, then goes on with Lloyd until an iteration gains less than 0.05 %. Without the moves such a start
    ends far above scikit-learn's greedy k-means++ where groups stand apart, with them at its inertia or below;
    scikit-learn spends half of its time on the start alone. benchmarks/kmeans.py measures both. Up to 64 centres, the
    best of eight starts is taken. The same values and seed give the same result on the same machine, with any number
    of threads. Raises Stopped when the context asks
    to stop.
    """
    faiss.omp_set_num_threads(torch.get_num_threads())
    shift_to_mean_zero(values)
    # few centres end at what the start happened to be, and cost little
    starts = STARTS if clusters <= FEW else 1
    found = min((_once(values, clusters, starts * seed + i, context) for i in range(starts)), key=lambda c: c.inertia)
    context.log(f"k-means: the best of {starts} starts, inertia {found.inertia:.6g}")
    return found


def _once(values: Floats, clusters: int, seed: int, context: RunContext) -> Clustering:
    """One clustering, from one start."""
    run = _KMeans(values, clusters, seed, context)
    run.lloyd(_FIRST, init_method=faiss.ClusteringInitMethod_AFK_MC2)
    for _ in range(_ROUNDS):
        moved = _move_surplus(values, run.centres, *run.nearest(2))
        run.lloyd(_BETWEEN)
        if moved <= clusters // 100:
            break
    before = np.inf
    for _ in range(_LAST):
        inertia = run.lloyd(1)
        if before - inertia <= _ENOUGH * inertia:
            break
        before = inertia
    assignment = run.nearest(1)[1][:, 0]
    distance = own_distances(values, assignment, run.centres)
    inertia = float(np.square(distance, dtype=np.float64).sum())
    context.log(f"k-means: {run.iterations} iterations, inertia {inertia:.6g}", "debug")
    return Clustering(run.centres, assignment, distance, inertia)


class _KMeans:
    """Lloyd's iterations on `values`, from `centres` on once there are some."""

    def __init__(self, values: Floats, clusters: int, seed: int, context: RunContext) -> None:
        self.values, self.clusters, self.seed, self.context = values, clusters, seed, context
        self.centres: Floats | None = None
        self.iterations = 0
        self._faiss: faiss.Kmeans | None = None

    def lloyd(self, iterations: int, **parameters: int) -> float:
        """Do some iterations; the inertia before the last one."""
        if self.context.should_stop():
            raise Stopped
        self._faiss = faiss.Kmeans(
            self.values.shape[1], self.clusters, niter=iterations, seed=self.seed, gpu=faiss.get_num_gpus(),
            min_points_per_centroid=1, max_points_per_centroid=len(self.values), check_input_data_for_NaNs=False,
            **parameters,
        )  # fmt: skip
        inertia = self._faiss.train(self.values, init_centroids=self.centres)
        self.centres = self._faiss.centroids
        self.iterations += iterations
        return float(inertia)

    def nearest(self, count: int) -> tuple[Floats, NDArray[np.int64]]:
        """Squared distances (N, count) to the nearest centres, and which they are."""
        index = self._faiss.index
        index.reset()
        index.add(self.centres)
        return index.search(self.values, count)


def own_distances(values: NDArray[np.floating], assignment: NDArray[np.integer],
                  centres: NDArray[np.floating]) -> NDArray[np.floating]:  # fmt: skip
    """Distance (N,) of each sample to the centre that it is assigned to."""
    found = [np.linalg.norm(values[rows] - centres[assignment[rows]], axis=1) for rows in pieces(len(values))]
    return np.concatenate(found)


def pieces(count: int) -> Iterator[slice]:
    """All rows, some thousand at a time."""
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))


def shift_to_mean_zero(values: Floats) -> None:
    """Subtract the mean of `values` (N, d) in place, which moves no sample relative to another."""
    mean = sum(values[rows].sum(axis=0, dtype=np.float64) for rows in pieces(len(values))) / len(values)
    for rows in pieces(len(values)):
        values[rows] -= mean.astype(np.float32)


def _move_surplus(values: Floats, centres: Floats, squared: Floats, nearest: NDArray[np.int64]) -> int:
    """Take away centres whose samples have another one about as near, and split clusters that gain more by it.

    `squared` and `nearest` (N, 2) belong to the two nearest centres. Changes `centres` in place, each at most once;
    returns how many were moved. The cost of a removal and the gain of a split are bounds, exact as long as a moved
    centre has no moved neighbours, so the next iteration's inertia falls.
    """
    clusters = len(centres)
    if clusters == 1:
        return 0
    own = nearest[:, 0]
    cost = np.bincount(own, squared[:, 1] - squared[:, 0], clusters)
    within = np.bincount(own, squared[:, 0], clusters)
    members = np.split(np.argsort(own, kind="stable"), np.cumsum(np.bincount(own, minlength=clusters))[:-1])
    halves = {j: _halves(values, members[j]) for j in np.flatnonzero(within > cost.min()) if len(members[j]) > 1}
    surplus = iter(np.argsort(cost, kind="stable"))
    taken: set[int] = set()
    moved = 0
    for j in sorted(halves, key=lambda j: -halves[j][0]):
        if j in taken:
            continue
        taken.add(j)
        other = next((i for i in surplus if i not in taken), None)
        gain, first, second = halves[j]
        if other is None or gain <= cost[other]:
            break
        centres[j], centres[other] = first, second
        taken.add(other)
        moved += 1
    return moved


def _halves(values: Floats, members: NDArray[np.int64]) -> tuple[float, Floats, Floats]:
    """Both sides of a cluster along its main axis: by how much inertia falls with two centres, and these (d,)."""
    # evenly spaced members will do for a huge cluster
    rows = values[members[:: -(-len(members) // _SPLIT_ROWS)]]
    mean = rows.mean(axis=0)
    rows -= mean
    axis = rows[np.argmax(np.einsum("ij,ij->i", rows, rows))]
    for _ in range(3):
        axis = (rows @ axis) @ rows
        axis /= np.linalg.norm(axis) + np.float32(1e-30)
    side = rows @ axis > 0
    if side.all() or not side.any():
        return 0.0, mean, mean
    share = side.mean()
    first, second = rows[side].mean(axis=0), rows[~side].mean(axis=0)
    gain = len(members) * share * (1 - share) * float(np.square(first - second).sum())
    return gain, mean + first, mean + second
