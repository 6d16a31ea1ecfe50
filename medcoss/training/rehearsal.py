"""The rehearsal buffer: samples that stand for a dataset when later stages rehearse it."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medcoss.data import patients
from medcoss.data.shards import ShardReader, copy_subset
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.registry import encoder_for, load_encoder
from medcoss.run import RunContext, refuse
from medcoss.specs import fit
from medcoss.specs.buffers import BuildBufferOptions
from medcoss.specs.plan import buffer_counts, sample_bytes
from medcoss.specs.records import DatasetInfo
from medcoss.training.choosing import Asked, choose, looks_at_features
from medcoss.training.features import features, identity


def build_buffer(
    spec: BuildBufferOptions, model_dir: Path, dataset_dir: Path, output_dir: Path, context: RunContext,
    measured_on: Sequence[Path] = (),
) -> DatasetInfo:  # fmt: skip
    """Write the rehearsal buffer of a dataset's training split as a dataset folder.

    `measured_on` are folders with the `samples.parquet` of other datasets that a model is going to be measured on.
    The strategies are those of `medcoss.training.choosing`; k-means is that of MedCoSS (Ye et al., CVPR 2024). The
    features lie in a file beside `output_dir` while it works. Raises BadInput when the model has not learnt the
    modality or patients who are measured on have been trained on, and Stopped, with the features kept, when asked to
    stop.
    """
    encoder, model = load_encoder(model_dir, "model")
    reader = ShardReader(dataset_dir)
    indices = reader.indices("train")
    longest = max((len(reader.text(int(i)).encode()) for i in indices), default=0) or None
    refuse(fit.buffer_building(spec, reader.info, model, longest))
    refuse(fit.learnt(model, reader.info.modality, "modality"))
    seen = patients.of_model(model_dir) | patients.of_training(dataset_dir, patients.called(spec, dataset_dir))
    measured = patients.held_out(spec, dataset_dir, measured_on)
    leakage = patients.check_leakage(seen, measured, spec.allow_leakage, context)
    vocabulary = model_dir / "vocab.txt"
    tokenizer = Tokenizer(vocabulary) if reader.info.kind is Kind.TEXT and vocabulary.is_file() else None
    clusters, quota = buffer_counts(reader.info, spec, len(model.modalities), longest)
    context.log(f"{len(indices)} samples, {_in_words(spec.strategy, clusters, quota)}")
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=".features-") as work:
        values = None
        if looks_at_features(spec.strategy):
            embedder = encoder_for(own_masks(encoder), model, reader.info.modality)
            values = features(embedder, reader, indices, Path(work), context, batch_size=spec.batch_size,
                              tokenizer=tokenizer,
                              identity=identity(model_dir, dataset_dir, spec.batch_size))  # fmt: skip
            context.progress(len(indices), len(indices), "choosing")
        found = choose(spec.strategy, values, len(indices), Asked(clusters, quota, spec.seed, context))
    chosen = indices[found.positions]
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
    by_clusters = {"clusters": clusters, "quota": quota} if spec.strategy == "kmeans" else {}
    size = {"samples": len(chosen), "sample_bytes": len(chosen) * sample_bytes(reader.info, longest)}
    context.metrics(0, size | by_clusters | found.metrics)
    return info


def _in_words(strategy: str, clusters: int, quota: int) -> str:
    return f"{clusters} clusters, {quota} samples each" if strategy == "kmeans" else f"{clusters * quota} by {strategy}"


def own_masks(encoder: Encoder) -> Encoder:
    """The encoder, with each report's own padding mask: mixed ones make a feature depend on who shares the batch."""
    if encoder.config.attention == "published_batched":
        encoder.config = replace(encoder.config, attention="published")
    return encoder
