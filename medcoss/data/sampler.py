"""Which sample comes when, as a pure function, so that a resumed run sees the same data."""

import numpy as np
from numpy.typing import NDArray


def epoch_order(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of `range(n)` that depends on nothing but its arguments; shape (n,)."""
    return np.random.default_rng([seed, epoch, 0]).permutation(n).astype(np.int64)


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample's augmentation in one epoch."""
    return np.random.default_rng([seed, epoch, 1, index])


def epoch_batches(n: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one epoch, each of `min(batch_size, n)` positions of `range(n)`.

    The last, shorter batch is left out, as in the published training; its samples
    come at other places in other epochs.
    """
    size = min(batch_size, n)
    order = epoch_order(n, seed, epoch)
    return [order[start : start + size] for start in range(0, n - size + 1, size)]
