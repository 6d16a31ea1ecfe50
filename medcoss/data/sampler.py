"""Which sample comes when, as a pure function, so that a resumed run sees the same data."""

import numpy as np
from numpy.typing import NDArray

from medcoss.specs.plan import whole_batches

POOLED_BATCHES = 32


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of `range(n)` that depends on nothing but its arguments; shape (n,)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n).astype(np.int64)


def sample_rng(seed: int, epoch: int, index: int, *draw: int) -> np.random.Generator:
    """The generator of one sample's augmentation in one epoch; `draw` tells repeated draws of it apart."""
    return np.random.default_rng([seed, epoch, 1, index, *draw])


def epoch_batches(
    n: int, batch_size: int, seed: int, epoch: int, lengths: NDArray[np.int64] | None = None
) -> list[NDArray[np.int64]]:
    """The batches of one epoch, each of `min(batch_size, n)` positions of `range(n)`.

    The last, shorter batch is left out, as in the published training; its samples
    come at other places in other epochs. With `lengths` (n,), samples of about the same
    length come together, so that little of a batch is padding; who meets whom still
    changes from epoch to epoch.
    """
    size, count = min(batch_size, n), whole_batches(n, batch_size)
    order = epoch_order(n, seed, epoch)
    order = order[: count * size]
    if lengths is not None:
        order = _by_length(order, lengths, size, np.random.default_rng([seed, epoch, 2]))
    return [order[i * size : (i + 1) * size] for i in range(count)]


def drawn_batches(n: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """As many batches as an epoch has, each drawn from all of `range(n)` with replacement, as published."""
    size = min(batch_size, n)
    rng = np.random.default_rng([seed, epoch, 6])
    return [rng.integers(0, n, size) for _ in range(whole_batches(n, batch_size))]


def _by_length(
    order: NDArray[np.int64], lengths: NDArray[np.int64], size: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`order`, sorted by roughly the length within pools of some batches."""
    rough = lengths[order] * rng.uniform(0.9, 1.1, len(order))
    pools = np.arange(len(order)) // (size * POOLED_BATCHES)
    return order[np.lexsort((rough, pools))]
