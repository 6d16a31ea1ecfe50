"""What each pre-training step sees: one batch of one modality, as a pure function of seed and step."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medcoss.data.augment import augment_image, augment_volume
from medcoss.data.sampler import drawn_batches, epoch_batches, sample_rng
from medcoss.data.shards import ShardReader, three_channels
from medcoss.data.tokenizer import Tokenizer
from medcoss.modalities import Kind
from medcoss.specs.encoder import PATCH
from medcoss.specs.plan import mixed_batches, training_steps, whole_batches
from medcoss.training.batches import cut, mapped
from medcoss.training.loading import stacked
from medcoss.training.masking import mask_words

_MASK, _MIX, _ORDER = 3, 4, 5


@dataclass(frozen=True)
class Source:
    """A dataset that takes part in a stage: the new modality, or a rehearsal buffer of an earlier one."""

    reader: ShardReader
    rehearsal: bool
    indices: NDArray[np.int64]
    tokenizer: Tokenizer | None = None

    @cached_property
    def lengths(self) -> NDArray[np.int64] | None:
        """Number of tokens of each report, (N,); None for images and volumes."""
        if self.kind is not Kind.TEXT:
            return None
        assert self.tokenizer is not None
        return self.tokenizer.lengths([self.reader.text(int(i)) for i in self.indices])

    @property
    def modality(self) -> str:
        """Name of the modality."""
        return self.reader.info.modality

    @property
    def kind(self) -> Kind:
        """Kind of the samples."""
        return self.reader.info.kind


@dataclass(frozen=True)
class Batch:
    """One batch of `source`.

    Images: `images` (B, C, ...) and masking `noise` (B, L). Reports: `ids`, `attention`,
    `labels` (B, L), the ids already masked, L the longest report of the batch.
    """

    source: int
    images: NDArray[np.float32] | None = None
    noise: NDArray[np.float32] | None = None
    ids: NDArray[np.int64] | None = None
    attention: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None

    def pin_memory(self) -> "Batch":
        """The batch, as tensors, where a GPU can fetch it by itself; DataLoader asks for it."""
        return mapped(self, lambda tensor: tensor.pin_memory())


class PretrainSteps(Dataset[Batch]):
    """The batches of a stage by step number.

    An epoch holds every whole batch of every source, in an order drawn anew each epoch. Reports of
    about the same length come together, and columns that are padding in every report of a batch are
    cut off, unless the `padding` counts as published. With `replacement` every batch is drawn from
    all samples. `mix` has weights of modalities: how often an epoch shows them. `share` says which rows of each batch
    are made: those of one rank.
    """

    share = slice(None)

    def __init__(self, sources: list[Source], *, batch_size: int, epochs: int, seed: int, text_mask_ratio: float,
                 mixup: bool, augment: bool, replacement: bool = False, padding: bool = False,
                 max_steps: int | None = None, mix: Mapping[str, float] | None = None) -> None:  # fmt: skip
        self.sources, self.batch_size, self.seed = sources, batch_size, seed
        self.text_mask_ratio, self.mixup, self.augment = text_mask_ratio, mixup, augment
        self.replacement, self.padding = replacement, padding
        self.weights = [(mix or {}).get(source.modality, 1.0) for source in sources]
        planned = training_steps([len(s.indices) for s in sources], batch_size, epochs, max_steps, weights=self.weights)
        self.per_epoch, self.total = planned.per_epoch, planned.total
        self._plan: tuple[int, list[tuple[int, NDArray[np.int64]]]] | None = None

    def __len__(self) -> int:
        return self.total

    def plan(self, epoch: int) -> list[tuple[int, NDArray[np.int64]]]:
        """The epoch's batches in order: source and positions within its indices."""
        if self._plan is None or self._plan[0] != epoch:
            batches = [
                (number, positions)
                for number, source in enumerate(self.sources)
                for positions in self._mixed(number, source, epoch)
            ]
            order = np.random.default_rng([self.seed, epoch, _ORDER]).permutation(len(batches))
            self._plan = (epoch, [batches[i] for i in order])
        return self._plan[1]

    def _mixed(self, number: int, source: Source, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of a source: those of one pass over it, or, with a weight, the next of one pass after another."""
        seed = self.seed + number
        if self.weights[number] == 1.0:
            return self._batches(source, seed, epoch)
        whole = whole_batches(len(source.indices), self.batch_size)
        count = mixed_batches(len(source.indices), self.batch_size, self.weights[number])
        first, last = epoch * count, (epoch + 1) * count
        passes = range(first // whole, -(-last // whole)) if whole else range(0)
        stream = [batch for each in passes for batch in self._batches(source, seed, each)]
        return stream[first - first // whole * whole :][:count] if whole else []

    def seen(self, done: int) -> dict[str, int]:
        """Samples of each modality that the first `done` steps have shown, those of its buffers included."""
        epoch, rest = divmod(done, self.per_epoch)
        found: dict[str, int] = {}
        for number, source in enumerate(self.sources):
            shown = epoch * mixed_batches(len(source.indices), self.batch_size, self.weights[number])
            shown += sum(which == number for which, _ in self.plan(epoch)[:rest]) if rest else 0
            size = min(self.batch_size, len(source.indices))
            found[source.modality] = found.get(source.modality, 0) + shown * size
        return found

    def _batches(self, source: Source, seed: int, epoch: int) -> list[NDArray[np.int64]]:
        n = len(source.indices)
        if self.replacement:
            return drawn_batches(n, self.batch_size, seed, epoch)
        return epoch_batches(n, self.batch_size, seed, epoch, None if self.padding else source.lengths)

    def __getitem__(self, step: int) -> Batch:
        epoch, place = divmod(step, self.per_epoch)
        number, positions = self.plan(epoch)[place]
        source = self.sources[number]
        indices = source.indices[positions]
        # what is drawn again is augmented and masked anew
        again = self.replacement or self.weights[number] != 1.0
        draws = [(step, row) if again else () for row in range(len(indices))]
        rngs = [sample_rng(self.seed + number, epoch, int(i), *draw) for i, draw in zip(indices, draws, strict=True)]
        mix = np.random.default_rng([self.seed, step, _MIX])
        if source.kind is Kind.TEXT:
            return cut(self._reports(number, source, indices, rngs, mix), self.share)
        images = self._images(source, indices, rngs, mix)
        tokens = int(np.prod([n // PATCH for n in images.shape[2:]]))
        noise = np.random.default_rng([self.seed, step, _MASK]).random((len(indices), tokens), dtype=np.float32)
        return Batch(number, images=images, noise=noise[self.share])

    def _images(self, source: Source, indices: NDArray[np.int64], rngs: list[np.random.Generator],
                mix: np.random.Generator) -> NDArray[np.float32]:  # fmt: skip
        """The share's images; of the rest, only what is mixed into them is read."""
        rows = np.arange(len(indices))[self.share]
        if not (source.rehearsal and self.mixup):
            return _channels(source, stacked([self._image(source, int(indices[i]), rngs[i]) for i in rows]))
        shares, others = mixing(len(indices), mix)
        wanted = np.union1d(rows, others[rows])
        read = np.stack([self._image(source, int(indices[i]), rngs[i]) for i in wanted])
        own, other = (read[np.searchsorted(wanted, which)] for which in (rows, others[rows]))
        return _channels(source, mix_images(own, other, shares[rows]))

    def _image(self, source: Source, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        image = source.reader.planes(index)
        if not self.augment:
            return image
        return (augment_image if source.kind is Kind.IMAGE2D else augment_volume)(image, rng)[0]

    def _reports(self, number: int, source: Source, indices: NDArray[np.int64], rngs: list[np.random.Generator],
                 mix: np.random.Generator) -> Batch:  # fmt: skip
        ids, attention, labels = masked_reports(source, indices, rngs, self.text_mask_ratio)
        if source.rehearsal and self.mixup:
            ids, attention = mix_reports(ids, attention, mix)
        return report_batch(number, ids, attention, labels, self.padding)


def masked_reports(source: Source, indices: NDArray[np.int64], rngs: list[np.random.Generator],
                   ratio: float) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Masked ids, attention and labels, each (B, L), of reports; one generator a report."""
    assert source.tokenizer is not None
    encoded = [source.tokenizer.encode(source.reader.text(int(i))) for i in indices]
    masked = [mask_words(e, source.tokenizer, ratio, rng) for e, rng in zip(encoded, rngs, strict=True)]
    ids, labels = (np.stack(arrays) for arrays in zip(*masked, strict=True))
    return ids, np.stack([e.attention for e in encoded]), labels


def report_batch(number: int, ids: NDArray[np.int64], attention: NDArray[np.int64], labels: NDArray[np.int64],
                 padding: bool) -> Batch:  # fmt: skip
    """A batch of source `number`; columns that are padding in every report are cut off unless `padding` counts."""
    used = ids.shape[1] if padding else int(np.flatnonzero(attention.any(axis=0))[-1]) + 1
    return Batch(number, ids=ids[:, :used], attention=attention[:, :used], labels=labels[:, :used])


def _channels(source: Source, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (B, C, ...) with the channels that the encoder takes; grey ones are cropped and mixed as one channel."""
    return three_channels(images) if source.kind is Kind.IMAGE2D else images


def mixing(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Mixup of a batch: the share of each sample, uniform in [0, 1], and the sample that has the rest; (count,)."""
    return rng.random(count, dtype=np.float32), rng.permutation(count)


def mix_images(
    own: NDArray[np.float32], other: NDArray[np.float32], shares: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`l own + (1 - l) other` of images (B, ...), with one share `l` a sample, (B,)."""
    share = shares.reshape(-1, *[1] * (own.ndim - 1))
    return share * own + (1 - share) * other


def mix_reports(
    ids: NDArray[np.int64], attention: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mixup of reports (B, L): with one share a batch, each token is the sample's own or the permuted sample's."""
    own = rng.random(ids.shape) < rng.random()
    other = rng.permutation(len(ids))
    return np.where(own, ids, ids[other]), np.where(own, attention, attention[other])
