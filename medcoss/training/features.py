"""Features of a dataset's samples, one vector each, without masking or augmentation: computed once, kept on disk."""

import json
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medcoss.data.fingerprints import fingerprint
from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.models.encoder import Embedder
from medcoss.models.heads import OfClassifier
from medcoss.run import BadInput, RunContext, Stopped
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.plan import all_batches
from medcoss.training.batches import moved
from medcoss.training.loading import loaded, stacked
from medcoss.training.precision import pick_device, precision

ROWS = 8192
_VALUES, _STATE = "features.f32", "features.json"
_CHECKPOINT_S, _WORTH_S, _GROWTH = 600.0, 60.0, 0.25


def model_inputs(
    reader: ShardReader, indices: NDArray[np.int64], tokenizer: Tokenizer | None
) -> tuple[torch.Tensor, ...]:
    """`(images,)` or `(ids, attention)` of some samples, as the models take them."""
    if reader.info.kind is Kind.TEXT:
        tokenizer = _needed(tokenizer)
        encoded = [tokenizer.encode(reader.text(int(i))) for i in indices]
        return (
            torch.from_numpy(np.stack([e.ids for e in encoded])),
            torch.from_numpy(np.stack([e.attention for e in encoded])),
        )
    return (torch.from_numpy(stacked([reader.image(int(i)) for i in indices])),)


def _needed(tokenizer: Tokenizer | None) -> Tokenizer:
    if tokenizer is None:
        raise BadInput("the model has no vocabulary; expected one that has learnt reports", "model")
    return tokenizer


class _Batches(Dataset[tuple[torch.Tensor, ...]]):
    """The model inputs, batch by batch.

    Reports of about the same length come together, the longest first, so that memory is short at once or never,
    and columns that are padding in every report of a batch are cut off; not where the padding counts, as published.
    """

    def __init__(self, reader: ShardReader, indices: NDArray[np.int64], batch_size: int,
                 tokenizer: Tokenizer | None, padding: bool) -> None:  # fmt: skip
        self.reader, self.indices, self.size, self.tokenizer = reader, indices, batch_size, tokenizer
        self.lengths: NDArray[np.int64] | None = None
        self.order = np.arange(len(indices))
        if reader.info.kind is Kind.TEXT and not padding:
            self.lengths = _needed(tokenizer).lengths([reader.text(int(i)) for i in indices], REPORT_LENGTH)
            self.order = np.argsort(-self.lengths, kind="stable")

    def __len__(self) -> int:
        return all_batches(len(self.order), self.size)

    def positions(self, number: int) -> NDArray[np.int64]:
        """Which of the samples make up a batch."""
        return self.order[number * self.size : (number + 1) * self.size]

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        positions = self.positions(number)
        inputs = model_inputs(self.reader, self.indices[positions], self.tokenizer)
        if self.lengths is not None:
            inputs = tuple(x[:, : self.lengths[positions].max()] for x in inputs)
        return inputs


class _Kept:
    """The features so far, in a file of the work folder and, now and then, in the run's checkpoints.

    A checkpoint holds the finished rows, 4 d bytes each. One is written ten minutes after the last and when the
    finished rows have grown by a quarter, whichever is later, when the run is asked to stop, and at the end if that
    saves a minute of work: at most six times the size of all features is written in all, and a kill costs a fifth of
    the work or ten minutes.
    """

    def __init__(self, folder: Path, order: NDArray[np.int64], width: int, identity: str, context: RunContext) -> None:
        self.folder, self.order, self.identity, self.context = folder, order, identity, context
        self.values = np.memmap(folder / _VALUES, np.float32, "w+", shape=(len(order), width))
        self.done = self.saved = self._restored()
        self.saved_at = time.monotonic()

    def add(self, positions: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Take the features of the next samples of the order."""
        self.values[positions] = rows
        self.done += len(positions)
        grown = self.done - self.saved >= _GROWTH * self.saved
        if grown and time.monotonic() - self.saved_at >= _CHECKPOINT_S:
            self.save()

    def finish(self) -> None:
        """Write a checkpoint of what took a minute or more."""
        if time.monotonic() - self.saved_at >= _WORTH_S:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless the last one holds everything."""
        if self.done == self.saved:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            target = Path(name)
            with (target / _VALUES).open("wb") as handle:
                for rows in self._rows(self.done):
                    handle.write(self.values[rows].tobytes())
            (target / _STATE).write_text(json.dumps({"done": self.done, "identity": self.identity}))
            self.context.checkpoints.save(self.done, target)
        self.saved, self.saved_at = self.done, time.monotonic()

    def _restored(self) -> int:
        """Fill in the rows of the newest checkpoint, if it is one of the same work; their number."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            found = Path(name)
            if self.context.checkpoints.latest(found) is None or not (found / _STATE).is_file():
                return 0
            state = json.loads((found / _STATE).read_text())
            if state["identity"] != self.identity:
                self.context.log("the features kept are of other data or another encoder; computing them anew")
                return 0
            with (found / _VALUES).open("rb") as handle:
                for rows in self._rows(state["done"]):
                    shape = (len(rows), self.values.shape[1])
                    self.values[rows] = np.fromfile(handle, np.float32, shape[0] * shape[1]).reshape(shape)
        self.context.log(f"resumed with the features of {state['done']} samples")
        return int(state["done"])

    def _rows(self, count: int) -> Iterator[NDArray[np.int64]]:
        """Row numbers of the first `count` samples in the order, piece by piece."""
        return (self.order[start : min(start + ROWS, count)] for start in range(0, count, ROWS))


def identity(model: Path, dataset: Path, batch_size: int) -> str:
    """What features depend on to the last bit: the encoder, the samples, the batches."""
    return f"{fingerprint(model)} {fingerprint(dataset)} {batch_size}"


def features(embedder: Embedder | OfClassifier, reader: ShardReader, indices: NDArray[np.int64], folder: Path,
             context: RunContext, *, batch_size: int, tokenizer: Tokenizer | None = None,
             identity: str = "") -> NDArray[np.float32]:  # fmt: skip
    """Features (N, d) of the samples at `indices`, float32, memory-mapped from a file in `folder`.

    A sample's feature does not depend on its batch beyond rounding. Goes on from the newest checkpoint of the same
    `identity`. Raises Stopped, with a checkpoint written, when the context asks to stop, and BadInput naming the
    sample whose feature is not finite.
    """
    device = pick_device()
    embedder = embedder.to(device).eval()
    config = embedder.encoder.config
    batches = _Batches(reader, indices, batch_size, tokenizer, config.counts_padding)
    folder.mkdir(parents=True, exist_ok=True)
    kept = _Kept(folder, batches.order, embedder.width, identity, context)
    context.progress(kept.done, len(indices), "features")
    # a checkpoint is written between two batches, so the rest begins with a whole one
    rest = range(math.ceil(kept.done / batch_size), len(batches))
    workers = 4 if device.type == "cuda" else 0
    for number, inputs in zip(rest, loaded(batches, rest, workers), strict=True):
        positions = batches.positions(number)
        if context.should_stop():
            kept.save()
            raise Stopped
        with torch.inference_mode(), precision(device):
            rows = embedder(*(moved(x, device) for x in inputs)).float().cpu().numpy()
        finite = np.isfinite(rows).all(axis=1)
        if not finite.all():
            sample = reader.rows[int(indices[positions[~finite][0]])]
            raise BadInput(f"the feature of sample {sample.id} is not finite; expected an encoder whose training "
                           "went well", "model")  # fmt: skip
        kept.add(positions, rows)
        context.progress(kept.done, len(indices), "features")
    kept.finish()
    return kept.values
