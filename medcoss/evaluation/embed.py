"""Embeddings of a prepared dataset, a vector a study, with what is known of each: for searches and for other tools."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medcoss.data.shards import ROW_GROUP, ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.encoder import Embedder, Encoder
from medcoss.models.heads import Classifier, OfClassifier
from medcoss.models.registry import encoder_for, load_model
from medcoss.run import BadInput, RunContext, refuse
from medcoss.specs import fit
from medcoss.training.features import features, identity
from medcoss.training.rehearsal import own_masks

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Study:
    """What is known of a vector: its `dataset`, the id of its (first) `sample`, and what that sample's row tells.

    `label` is the name of its class, empty without one; `patient` a keyed hash; `samples` how many tiles were averaged.
    """

    dataset: str
    sample: str
    group: str
    source: str
    split: str
    label: str
    patient: str
    modality: str
    samples: int


@dataclass(frozen=True)
class Embedded:
    """Vectors (N, d) and the studies that they are of."""

    vectors: Vectors
    studies: list[Study]


STUDY = pa.schema([(name, pa.int64() if name == "samples" else pa.string()) for name in Study.__dataclass_fields__])


def embed_dataset(model_dir: Path, dataset_dir: Path, dataset: str, work: Path, context: RunContext, *,
                  split: str | None = None, level: str = "study", batch_size: int = 32) -> Embedded:  # fmt: skip
    """Vectors of the studies of a dataset folder, which is known as `dataset`; of volumes the mean over their tiles.

    `level` "sample" gives one of every tile instead. Goes on from a checkpoint. Raises BadInput when model and dataset
    do not fit each other, and Stopped, with a checkpoint written, when the context asks to stop.
    """
    reader = ShardReader(dataset_dir)
    embedder = _embedder(model_dir, reader)
    indices = chosen(reader, split)
    values = features(
        embedder, reader, indices, work, context, batch_size=batch_size, tokenizer=tokenizer_of(model_dir, reader),
        identity=f"{identity(model_dir, dataset_dir, batch_size)} {split}",
    )  # fmt: skip
    owners = _owners(reader, indices, level)
    count = int(owners.max()) + 1
    sums = np.zeros((count, values.shape[1]), np.float32)
    for start in range(0, len(values), ROW_GROUP):
        np.add.at(sums, owners[start : start + ROW_GROUP], values[start : start + ROW_GROUP])
    sizes = np.bincount(owners, minlength=count)
    _, firsts = np.unique(owners, return_index=True)
    studies = [_study(reader, int(indices[i]), dataset, int(sizes[owners[i]])) for i in firsts]
    return Embedded(sums / sizes[:, None].astype(np.float32), studies)


def chosen(reader: ShardReader, split: str | None) -> NDArray[np.int64]:
    """Positions of the samples of a split, or of all. Raises BadInput when there is none."""
    indices = reader.indices(split)
    if len(indices) == 0:
        there = f"no samples in the split '{split}'; it has {', '.join(reader.info.splits)}" if split else "no samples"
        raise BadInput(f"the dataset has {there}", "split" if split else "dataset")
    return indices


def tokenizer_of(model_dir: Path, reader: ShardReader) -> Tokenizer | None:
    """The model's vocabulary, where the samples are reports and it has one."""
    vocabulary = model_dir / "vocab.txt"
    return Tokenizer(vocabulary) if reader.info.kind is Kind.TEXT and vocabulary.is_file() else None


def _embedder(model_dir: Path, reader: ShardReader) -> Embedder | OfClassifier:
    module, info = load_model(model_dir)
    refuse(fit.embedding(reader.info, info))
    if isinstance(module, Classifier):
        own_masks(module.encoder)
        return OfClassifier(module, probabilities=False)
    assert isinstance(module, Encoder)
    return encoder_for(own_masks(module), info, reader.info.modality)


def _owners(reader: ShardReader, indices: NDArray[np.int64], level: str) -> NDArray[np.int64]:
    """Which study each sample belongs to, numbered as they come."""
    if level == "sample" or reader.info.kind is not Kind.VOLUME3D:
        return np.arange(len(indices))
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(reader.rows[int(i)].group, len(numbers)) for i in indices])


def _study(reader: ShardReader, index: int, dataset: str, samples: int) -> Study:
    row, classes = reader.rows[index], reader.info.classes or []
    label = classes[row.label] if 0 <= row.label < len(classes) else ""
    return Study(dataset, row.id, row.group, row.source, row.split, label, row.patient, reader.info.modality, samples)


def studies_table(studies: list[Study]) -> pa.Table:
    """What is known of vectors, a row each."""
    return pa.Table.from_pylist([asdict(study) for study in studies], STUDY)


def write_embeddings(found: Embedded, folder: Path) -> list[Path]:
    """Write `embeddings.parquet`, a row a study with its `embedding`, and the vectors (N, d) as `embeddings.npy`."""
    folder.mkdir(parents=True, exist_ok=True)
    parquet, array = folder / "embeddings.parquet", folder / "embeddings.npy"
    np.save(array, found.vectors)
    vector = pa.list_(pa.float32(), found.vectors.shape[1])
    with pq.ParquetWriter(parquet, STUDY.append(pa.field("embedding", vector))) as writer:
        for start in range(0, len(found.studies), ROW_GROUP):
            rows = found.vectors[start : start + ROW_GROUP]
            column: Any = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
            writer.write_table(
                studies_table(found.studies[start : start + ROW_GROUP]).append_column("embedding", column)
            )
    return [parquet, array]
