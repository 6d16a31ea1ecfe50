"""The rehearsal buffer: samples nearest to the k-means centres of a dataset's features."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from medcoss.data.shards import ShardReader, copy_subset
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.encoder import Embedder
from medcoss.models.registry import encoder_for, load_encoder
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.records import DatasetInfo
from medcoss.specs.training import BuildBufferOptions
from medcoss.training.precision import pick_device, precision


def features(embedder: Embedder, reader: ShardReader, indices: NDArray[np.int64], batch_size: int,
             tokenizer: Tokenizer | None, context: RunContext) -> NDArray[np.float32]:  # fmt: skip
    """Features (N, d) without masking or augmentation. Raises Stopped when asked to stop."""
    device = pick_device()
    embedder = embedder.to(device).eval()
    rows = []
    for start in range(0, len(indices), batch_size):
        if context.should_stop():
            raise Stopped
        inputs = model_inputs(reader, indices[start : start + batch_size], tokenizer)
        with torch.inference_mode(), precision(device):
            rows.append(embedder(*(x.to(device) for x in inputs)).float().cpu().numpy())
        context.progress(min(start + batch_size, len(indices)), len(indices), "features")
    return np.concatenate(rows)


def model_inputs(
    reader: ShardReader, indices: NDArray[np.int64], tokenizer: Tokenizer | None
) -> tuple[torch.Tensor, ...]:
    """`(images,)` or `(ids, attention)` of some samples, as the models take them."""
    if reader.info.kind is Kind.TEXT:
        if tokenizer is None:
            raise BadInput("the model has no vocabulary; expected one that has learnt reports", "model")
        encoded = [tokenizer.encode(reader.text(int(i))) for i in indices]
        return (
            torch.from_numpy(np.stack([e.ids for e in encoded])),
            torch.from_numpy(np.stack([e.attention for e in encoded])),
        )
    return (torch.from_numpy(np.stack([reader.image(int(i)) for i in indices])),)


def cluster_counts(samples: int, centers_fraction: float, buffer_fraction: float) -> tuple[int, int]:
    """Number of clusters and the quota of each: as published, but never fewer than one."""
    clusters = max(int(samples * centers_fraction), 1)
    return clusters, max(int(samples * buffer_fraction // clusters), 1)


def select_nearest(
    values: NDArray[np.floating], assignment: NDArray[np.integer], centres: NDArray[np.floating], quota: int
) -> NDArray[np.int64]:
    """Positions of the `quota` samples nearest to each centre, cluster by cluster, nearest first.

    `values` (N, d), `assignment` (N,), `centres` (k, d); smaller clusters give what they have.
    """
    chosen: list[NDArray[np.int64]] = []
    for cluster, centre in enumerate(centres):
        members = np.flatnonzero(assignment == cluster)
        distance = np.linalg.norm(values[members] - centre, axis=1)
        chosen.append(members[np.argsort(distance, kind="stable")[:quota]])
    return np.concatenate(chosen)


def build_buffer(
    spec: BuildBufferOptions, model_dir: Path, dataset_dir: Path, output_dir: Path, context: RunContext
) -> DatasetInfo:
    """Write the rehearsal buffer of a dataset's training split as a dataset folder.

    Source: MedCoSS (Ye et al., CVPR 2024). Raises BadInput when the model has not learnt the modality.
    """
    encoder, model = load_encoder(model_dir, "model")
    reader = ShardReader(dataset_dir)
    indices = reader.indices("train")
    if len(indices) == 0:
        raise BadInput("the dataset has no training samples", "dataset")
    vocabulary = model_dir / "vocab.txt"
    tokenizer = Tokenizer(vocabulary) if reader.info.kind is Kind.TEXT and vocabulary.is_file() else None
    embedder = encoder_for(encoder, model, reader.info.modality)
    values = features(embedder, reader, indices, spec.batch_size, tokenizer, context)
    clusters, quota = cluster_counts(len(indices), spec.centers_fraction, spec.buffer_fraction)
    context.log(f"{len(indices)} samples, {clusters} clusters, {quota} samples each")
    kmeans = KMeans(clusters, random_state=spec.seed, n_init=10).fit(values)
    chosen = indices[select_nearest(values, kmeans.labels_, kmeans.cluster_centers_, quota)]
    info = reader.info.model_copy(
        update={"role": "buffer", "samples": len(chosen), "splits": {"train": len(chosen)}, "bad_files": []}
    )
    copy_subset(reader, [int(i) for i in chosen], output_dir, info)
    context.metrics(0, {"inertia": float(kmeans.inertia_), "samples": float(len(chosen))})
    return info
