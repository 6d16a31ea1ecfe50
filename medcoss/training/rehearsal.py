"""The rehearsal buffer: samples nearest to the k-means centres of a dataset's features."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcoss.data import patients
from medcoss.data.shards import ShardReader, copy_subset
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.registry import encoder_for, load_encoder
from medcoss.run import RunContext, refuse
from medcoss.specs import fit
from medcoss.specs.plan import cluster_counts
from medcoss.specs.records import DatasetInfo
from medcoss.specs.training import BuildBufferOptions
from medcoss.training.clustering import cluster, own_distances
from medcoss.training.features import features, identity


def select_nearest(
    values: NDArray[np.floating], assignment: NDArray[np.integer], centres: NDArray[np.floating], quota: int
) -> NDArray[np.int64]:
    """Positions of the `quota` samples nearest to each centre, cluster by cluster, nearest first.

    `values` (N, d), `assignment` (N,), `centres` (k, d); smaller clusters give what they have, as published.
    """
    return _nearest_first(assignment, own_distances(values, assignment, centres), quota)


def refilled(assignment: NDArray[np.integer], distance: NDArray[np.floating], clusters: int,
             quota: int) -> NDArray[np.int64]:  # fmt: skip
    """Positions of `clusters * quota` samples, each once: the published selection, then the next nearest.

    `assignment` and `distance` (N,) name each sample's own centre and how far away it is. What small clusters cannot
    give is taken from the samples left, those with the smallest distance first, of equal ones the first.
    """
    chosen = _nearest_first(assignment, distance, quota)
    left = np.setdiff1d(np.arange(len(distance)), chosen)
    next_nearest = left[np.argsort(distance[left], kind="stable")]
    return np.concatenate([chosen, next_nearest[: clusters * quota - len(chosen)]])


def _nearest_first(assignment: NDArray[np.integer], distance: NDArray[np.floating], quota: int) -> NDArray[np.int64]:
    order = np.lexsort((distance, assignment))
    sizes = np.bincount(assignment)
    rank = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[rank < quota]


def build_buffer(
    spec: BuildBufferOptions, model_dir: Path, dataset_dir: Path, output_dir: Path, context: RunContext,
    measured_on: Sequence[Path] = (),
) -> DatasetInfo:  # fmt: skip
    """Write the rehearsal buffer of a dataset's training split as a dataset folder.

    `measured_on` are folders with the `samples.parquet` of other datasets that a model is going to be measured on.
    Source: MedCoSS (Ye et al., CVPR 2024). The features lie in a file beside `output_dir` while it works. Raises
    BadInput when the model has not learnt the modality or patients who are measured on have been trained on, and
    Stopped, with the features kept, when asked to stop.
    """
    encoder, model = load_encoder(model_dir, "model")
    reader = ShardReader(dataset_dir)
    refuse(fit.buffer_building(reader.info, model))
    indices = reader.indices("train")
    seen = patients.of_model(model_dir) | patients.of_training(dataset_dir, patients.called(spec, dataset_dir))
    measured = patients.held_out(spec, dataset_dir, measured_on)
    leakage = patients.check_leakage(seen, measured, spec.allow_leakage, context)
    vocabulary = model_dir / "vocab.txt"
    tokenizer = Tokenizer(vocabulary) if reader.info.kind is Kind.TEXT and vocabulary.is_file() else None
    embedder = encoder_for(_own_masks(encoder), model, reader.info.modality)
    clusters, quota = cluster_counts(len(indices), spec.centers_fraction, spec.buffer_fraction)
    context.log(f"{len(indices)} samples, {clusters} clusters, {quota} samples each")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=".features-") as work:
        values = features(embedder, reader, indices, Path(work), context, batch_size=spec.batch_size,
                          tokenizer=tokenizer, identity=identity(model_dir, dataset_dir, spec.batch_size))  # fmt: skip
        context.progress(len(indices), len(indices), "clustering")
        found = cluster(values, clusters, spec.seed, context)
    sizes = np.bincount(found.assignment, minlength=clusters)
    small, shortfall = _report_small(sizes, quota, context)
    chosen = indices[refilled(found.assignment, found.distance, clusters, quota)]
    info = reader.info.model_copy(
        update={
            "role": "buffer",
            "samples": len(chosen),
            "splits": {"train": len(chosen)},
            "bad_files": [],
            "labelled": None,
            "leakage": leakage,
        }
    )
    copy_subset(reader, [int(i) for i in chosen], output_dir, info)
    context.metrics(0, {"inertia": found.inertia, "samples": len(chosen), "clusters": clusters, "quota": quota,
                        "small_clusters": small, "shortfall": shortfall})  # fmt: skip
    return info


def _own_masks(encoder: Encoder) -> Encoder:
    """The encoder, with each report's own padding mask: mixed ones make a feature depend on who shares the batch."""
    if encoder.config.attention == "published_batched":
        encoder.config = replace(encoder.config, attention="published")
    return encoder


def _report_small(sizes: NDArray[np.int64], quota: int, context: RunContext) -> tuple[int, int]:
    """How many clusters hold fewer samples than the quota, and how many samples are missing in all."""
    missing = np.maximum(quota - sizes, 0)
    small, shortfall = int((missing > 0).sum()), int(missing.sum())
    if small:
        context.log(f"{small} of {len(sizes)} clusters hold fewer than {quota} samples; the {shortfall} missing are "
                    "the next nearest of the others", "warning")  # fmt: skip
    return small, shortfall
