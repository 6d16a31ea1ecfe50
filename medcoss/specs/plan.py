"""How jobs divide their samples into batches and steps: the trainers count by these functions, and so do forecasts."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat

from medcoss.modalities import Kind
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.records import DatasetInfo

# what a report counts as where nobody has read it
REPORT_BYTES = 1024


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of an epoch, and of the whole run."""

    per_epoch: int
    total: int


def whole_batches(samples: int, batch_size: int) -> int:
    """Batches of a training epoch, each of `min(batch_size, samples)`; the shorter last one is left out."""
    return samples // min(batch_size, samples) if samples else 0


def mixed_batches(samples: int, batch_size: int, weight: float = 1.0) -> int:
    """Batches of a source in an epoch that shows it `weight` times; at least one of what has any sample."""
    return max(round(whole_batches(samples, batch_size) * weight), 1) if samples else 0


def all_batches(samples: int, batch_size: int) -> int:
    """Batches that hold every sample once, the last one maybe shorter."""
    return -(-samples // batch_size)


def training_steps(sources: Iterable[int], batch_size: int, epochs: int, max_steps: int | None,
                   steps_per_epoch: int | None = None, weights: Iterable[float] | None = None) -> Steps:  # fmt: skip
    """Steps of a run whose epoch holds every whole batch of each source, or `steps_per_epoch` of them.

    `sources` are their numbers of samples, `weights` how often an epoch shows each.
    """
    each = repeat(1.0) if weights is None else weights
    whole = sum(mixed_batches(samples, batch_size, weight) for samples, weight in zip(sources, each, strict=False))
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


def buffer_counts(dataset: DatasetInfo, options: BuildBufferOptions, learnt: int,
                  longest: int | None = None) -> tuple[int, int]:  # fmt: skip
    """Clusters of a rehearsal buffer and the quota of each; their product is the size of the buffer, by any strategy.

    The budget, if there is one, is shared by as many buffers as the options say, else by those of `learnt` modalities.
    Of a buffer that is made smaller, all samples may stay.
    `longest` is the length of the longest report in bytes, where it is known. Zero and zero where the budget does not
    hold a single sample.
    """
    samples = dataset.splits.get("train", 0)
    centers, kept = options.centers_fraction, options.buffer_fraction
    if dataset.role == "buffer":
        centers, kept = min(centers / kept, 1.0), 1.0
    clusters, quota = cluster_counts(samples, centers, kept)
    most = affordable(dataset, options, learnt, longest)
    if most is None or clusters * quota <= most:
        return clusters, quota
    clusters = min(clusters, most)
    return clusters, most // clusters if clusters else 0


def affordable(dataset: DatasetInfo, options: BuildBufferOptions, learnt: int,
               longest: int | None = None) -> int | None:  # fmt: skip
    """Samples that a buffer's share of the budget holds; None without a budget."""
    if options.buffer_budget_bytes is None:
        return None
    return options.buffer_budget_bytes // sharing(options, learnt) // sample_bytes(dataset, longest)


def sharing(options: BuildBufferOptions, learnt: int) -> int:
    """How many buffers share the budget."""
    return options.sharing or max(learnt, 1)


def sample_bytes(dataset: DatasetInfo, longest: int | None = None) -> int:
    """Bytes of a sample as it is stored, before compression, its mask included; of reports the `longest` one, if that
    is known.
    """
    if dataset.kind is Kind.TEXT:
        return longest or REPORT_BYTES
    voxels = math.prod(dataset.sample_shape[1:])
    masks = len(dataset.classes or []) * voxels if dataset.has_masks else 0
    return dataset.sample_shape[0] * voxels * (4 if dataset.kind is Kind.VOLUME3D else 1) + masks
