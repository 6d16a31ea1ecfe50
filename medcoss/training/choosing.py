"""Which samples stand for the others: the strategies of rehearsal buffers, under one interface.

Each takes features (N, d), that may be memory-mapped and are shifted in place to have mean zero, and gives the
positions of `clusters * quota` different samples. Those of `herding` and `farthest_point` are in the order in which
they were chosen, so that the first n of them are the choice of n.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcoss.run import RunContext, Stopped
from medcoss.specs.buffers import Strategy
from medcoss.training.clustering import Floats, cluster, own_distances, pieces, shift_to_mean_zero

Positions = NDArray[np.int64]
# samples between two looks at whether to stop
_EVERY = 16


@dataclass(frozen=True)
class Asked:
    """How many samples are wanted: a `quota` of each of so many `clusters`; the seed; who is told."""

    clusters: int
    quota: int
    seed: int
    context: RunContext

    @property
    def count(self) -> int:
        """Samples in all."""
        return self.clusters * self.quota


@dataclass(frozen=True)
class Chosen:
    """Positions of the chosen samples, and numbers about the choice by name."""

    positions: Positions
    metrics: dict[str, float] = field(default_factory=dict)


def choose(strategy: Strategy, values: Floats | None, samples: int, asked: Asked) -> Chosen:
    """Choose among `samples`. `values` (N, d) are their features; None for strategies that look at none.

    Raises Stopped when the context asks to stop.
    """
    if strategy == "random" or values is None:
        return Chosen(np.random.default_rng(asked.seed).permutation(samples)[: asked.count])
    return _STRATEGIES[strategy](values, asked)


def looks_at_features(strategy: Strategy) -> bool:
    """False for a strategy that needs no features."""
    return strategy != "random"


def _kmeans(values: Floats, asked: Asked) -> Chosen:
    """The samples nearest to k-means centres (MedCoSS, Ye et al., CVPR 2024)."""
    found = cluster(values, asked.clusters, asked.seed, asked.context)
    sizes = np.bincount(found.assignment, minlength=asked.clusters)
    small, shortfall = _report_small(sizes, asked.quota, asked.context)
    return Chosen(
        refilled(found.assignment, found.distance, asked.clusters, asked.quota),
        {"inertia": found.inertia, "small_clusters": small, "shortfall": shortfall},
    )


def _herding(values: Floats, asked: Asked) -> Chosen:
    """Samples whose mean stays as near as can be to the mean of all, one by one (Welling, ICML 2009; as exemplars,
    Rebuffi et al., CVPR 2017, there of features of length one).
    """
    shift_to_mean_zero(values)
    # with mean zero, |s + x|^2 is what is left to the mean: the sum so far and the next one
    squares = _squares(values)
    along = np.zeros(len(values), np.float64)
    chosen = np.empty(asked.count, np.int64)
    for place in _steps(asked):
        chosen[place] = (squares + 2 * along).argmin()
        squares[chosen[place]] = np.inf
        along += _products(values, values[chosen[place]])
    mean = values[chosen].mean(axis=0, dtype=np.float64)
    return Chosen(chosen, {"mean_distance": float(np.linalg.norm(mean))})


def _farthest_point(values: Floats, asked: Asked) -> Chosen:
    """Each sample as far as can be from all that were chosen before it, from a seeded one on (Gonzalez, 1985): the
    largest distance of any sample to the nearest chosen one is at most twice the smallest that is possible.
    """
    shift_to_mean_zero(values)
    chosen = np.empty(asked.count, np.int64)
    nearest = np.full(len(values), np.inf)
    following = int(np.random.default_rng(asked.seed).integers(len(values)))
    for place in _steps(asked):
        chosen[place] = following
        centre = values[following].copy()
        for rows in pieces(len(values)):
            apart = np.square(values[rows] - centre).sum(axis=1, dtype=np.float64)
            np.minimum(nearest[rows], apart, out=nearest[rows])
        # of samples that are all the same as chosen ones, none is taken twice
        nearest[following] = -1
        following = int(nearest.argmax())
    return Chosen(chosen, {"radius": float(np.sqrt(max(nearest.max(), 0)))})


def _steps(asked: Asked) -> Iterator[int]:
    for place in range(asked.count):
        if place % _EVERY == 0:
            if asked.context.should_stop():
                raise Stopped
            asked.context.progress(place, asked.count, "choosing")
        yield place


def _squares(values: Floats) -> NDArray[np.float64]:
    """Squared length (N,) of each feature."""
    return np.concatenate([np.square(values[rows]).sum(axis=1, dtype=np.float64) for rows in pieces(len(values))])


def _products(values: Floats, one: Floats) -> NDArray[np.float64]:
    """Scalar product (N,) of each feature with one."""
    return np.concatenate([values[rows] @ one for rows in pieces(len(values))]).astype(np.float64)


_STRATEGIES: dict[Strategy, Callable[[Floats, Asked], Chosen]] = {
    "kmeans": _kmeans, "herding": _herding, "farthest_point": _farthest_point,
}  # fmt: skip


def select_nearest(
    values: NDArray[np.floating], assignment: NDArray[np.integer], centres: NDArray[np.floating], quota: int
) -> Positions:
    """Positions of the `quota` samples nearest to each centre, cluster by cluster, nearest first.

    `values` (N, d), `assignment` (N,), `centres` (k, d); smaller clusters give what they have, as published.
    """
    return _nearest_first(assignment, own_distances(values, assignment, centres), quota)


def refilled(assignment: NDArray[np.integer], distance: NDArray[np.floating], clusters: int,
             quota: int) -> Positions:  # fmt: skip
    """Positions of `clusters * quota` samples, each once: the published selection, then the next nearest.

    `assignment` and `distance` (N,) name each sample's own centre and how far away it is. What small clusters cannot
    give is taken from the samples left, those with the smallest distance first, of equal ones the first.
    """
    chosen = _nearest_first(assignment, distance, quota)
    left = np.setdiff1d(np.arange(len(distance)), chosen)
    next_nearest = left[np.argsort(distance[left], kind="stable")]
    return np.concatenate([chosen, next_nearest[: clusters * quota - len(chosen)]])


def _nearest_first(assignment: NDArray[np.integer], distance: NDArray[np.floating], quota: int) -> Positions:
    order = np.lexsort((distance, assignment))
    sizes = np.bincount(assignment)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[rank < quota]


def _report_small(sizes: NDArray[np.int64], quota: int, context: RunContext) -> tuple[int, int]:
    """How many clusters hold fewer samples than the quota, and how many samples are missing in all."""
    missing = np.maximum(quota - sizes, 0)
    small, shortfall = int((missing > 0).sum()), int(missing.sum())
    if small:
        context.log(f"{small} of {len(sizes)} clusters hold fewer than {quota} samples; the {shortfall} missing are "
                    "the next nearest of the others", "warning")  # fmt: skip
    return small, shortfall
