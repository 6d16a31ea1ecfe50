"""How jobs divide their samples into batches and steps: the trainers count by these functions, and so do forecasts."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of an epoch, and of the whole run."""

    per_epoch: int
    total: int


def whole_batches(samples: int, batch_size: int) -> int:
    """Batches of a training epoch, each of `min(batch_size, samples)`; the shorter last one is left out."""
    return samples // min(batch_size, samples) if samples else 0


def all_batches(samples: int, batch_size: int) -> int:
    """Batches that hold every sample once, the last one maybe shorter."""
    return -(-samples // batch_size)


def training_steps(sources: Iterable[int], batch_size: int, epochs: int, max_steps: int | None,
                   steps_per_epoch: int | None = None) -> Steps:  # fmt: skip
    """Steps of a run whose epoch holds every whole batch of each source, or `steps_per_epoch` of them.

    `sources` are their numbers of samples.
    """
    whole = sum(whole_batches(samples, batch_size) for samples in sources)
    per_epoch = steps_per_epoch if steps_per_epoch and whole else whole
    total = per_epoch * epochs
    return Steps(per_epoch, total if max_steps is None else min(total, max_steps))


def passing_at_once(samples: int, batch_size: int, parts: int) -> int:
    """Samples of a source that pass a model at once when a batch is cut into so many parts: the largest part."""
    return -(-min(batch_size, samples) // parts)


def cluster_counts(samples: int, centers_fraction: float, buffer_fraction: float) -> tuple[int, int]:
    """Number of clusters and the quota of each: as published, but never fewer than one."""
    clusters = max(int(samples * centers_fraction), 1)
    return clusters, max(int(samples * buffer_fraction // clusters), 1)


def buffer_size(samples: int, centers_fraction: float, buffer_fraction: float) -> int:
    """Samples of a rehearsal buffer: the quotas of all clusters."""
    clusters, quota = cluster_counts(samples, centers_fraction, buffer_fraction)
    return clusters * quota
