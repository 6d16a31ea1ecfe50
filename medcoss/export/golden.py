"""Golden inputs: what a served model must answer as PyTorch does before anyone may use it."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.export.signature import Arrays, Signature
from medcoss.modalities import Kind

MOST = 4
Source = Literal["dataset", "random"]


def golden_inputs(signature: Signature, dataset: Path | None, vocabulary: Path, most: int) -> tuple[Arrays, Source]:
    """Inputs of at most `most` and MOST samples of a dataset folder, and "dataset"; without one, or when its samples
    are smaller than the model's input, one random sample, and "random".

    Larger samples are cut to their middle: a volume is served in windows. Raises BadInput when the folder holds no
    dataset.
    """
    found = _samples(signature, dataset, vocabulary, min(most, MOST)) if dataset is not None else None
    return (signature.samples(1, seed=0), "random") if found is None else (found, "dataset")


def save(path: Path, inputs: Arrays, expected: Arrays) -> None:
    """Store inputs and PyTorch's outputs in one file."""
    np.savez(path, **inputs, **{f"expected_{name}": values for name, values in expected.items()})  # type: ignore[arg-type]


def _samples(signature: Signature, dataset: Path, vocabulary: Path, most: int) -> Arrays | None:
    reader = ShardReader(dataset)
    # spread over the dataset: neighbours come from one patient
    chosen = sorted({int(i) for i in np.linspace(0, len(reader) - 1, most)}) if len(reader) else []
    if signature.kind is Kind.TEXT:
        tokenizer = Tokenizer(vocabulary)
        encoded = [tokenizer.encode(reader.text(i)) for i in chosen]
        arrays = {"input_ids": [e.ids for e in encoded], "attention_mask": [e.attention for e in encoded]}
        return {name: np.stack(rows).astype(np.int64) for name, rows in arrays.items()} if chosen else None
    images = [_middle(reader.image(i), signature.sample_shape) for i in chosen]
    fitting = [image for image in images if image is not None]
    return {"image": np.stack(fitting)} if fitting else None


def _middle(image: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """The middle of an array, None when it is smaller than `shape` or has other channels."""
    if image.ndim != len(shape) or image.shape[0] != shape[0] or any(
        has < needs for has, needs in zip(image.shape, shape, strict=True)
    ):  # fmt: skip
        return None
    starts = [(has - needs) // 2 for has, needs in zip(image.shape, shape, strict=True)]
    cut = image[tuple(slice(start, start + needs) for start, needs in zip(starts, shape, strict=True))]
    return np.ascontiguousarray(cut, dtype=np.float32)
