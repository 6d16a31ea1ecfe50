"""What the parts of the models cost: parameters, operations, and numbers kept for the backward pass.

Counted from sizes alone, without torch. Every cost is that of ONE sample; parameters do not grow with the batch.
"""

import math
from dataclasses import dataclass

from medcoss.modalities import Kind
from medcoss.specs.encoder import PATCH, TABLE_ROWS, TEMPORAL_POSITIONS, TEXT_POSITIONS, EncoderConfig


@dataclass(frozen=True)
class Cost:
    """Trained `parameters` in so many `tensors`; `operations` of the forward pass of a sample (a multiplication and an
    addition are two); numbers `kept` for its backward pass, in the number format of the products, and those `kept32`
    that are 32 bits in any.
    """

    parameters: int = 0
    tensors: int = 0
    operations: int = 0
    kept: int = 0
    kept32: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.parameters + other.parameters, self.tensors + other.tensors, self.operations + other.operations,
            self.kept + other.kept, self.kept32 + other.kept32,
        )  # fmt: skip

    def times(self, count: int) -> "Cost":
        """So many of them, each with parameters of its own."""
        return Cost(*(count * n for n in (self.parameters, self.tensors, self.operations, self.kept, self.kept32)))


@dataclass(frozen=True)
class Shape:
    """The input of a model: its kind, the size of its axes in pixels, voxels or tokens, without channels."""

    kind: Kind
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, kind: Kind, shape: list[int]) -> "Shape":
        """A sample of a dataset's `sample_shape`: (C, H, W), (C, D, H, W) or (tokens,)."""
        return cls(kind, tuple(shape if kind is Kind.TEXT else shape[1:]))

    @property
    def channels(self) -> int:
        """Channels that the encoder takes: grey images are repeated."""
        return 3 if self.kind is Kind.IMAGE2D else 1

    @property
    def voxels(self) -> int:
        """Pixels, voxels or tokens."""
        return math.prod(self.sizes)

    @property
    def tokens(self) -> int:
        """Patches, or tokens of a report; without the class token."""
        return self.voxels if self.kind is Kind.TEXT else math.prod(n // PATCH for n in self.sizes)

    @property
    def patch(self) -> int:
        """Numbers of a patch."""
        return self.channels * int(PATCH ** len(self.sizes))


def kept_patches(tokens: int, mask_ratio: float) -> int:
    """How many of a sample's patches the encoder sees when it is masked."""
    return max(int(tokens * (1 - mask_ratio)), 1)


def linear(inputs: int, outputs: int, tokens: int) -> Cost:
    """A linear layer; it keeps its input."""
    return Cost(inputs * outputs + outputs, 2, 2 * inputs * outputs * tokens, inputs * tokens)


def norm(dim: int, tokens: int) -> Cost:
    """Layer normalisation; it keeps its input."""
    return Cost(2 * dim, 2, 0, 0, dim * tokens)


def block(dim: int, heads: int, tokens: int, scaled: bool) -> Cost:
    """A pre-norm transformer block with an MLP of four times the width; `scaled` by LayerScale. Attention keeps its
    three inputs and no matrix of tokens by tokens.
    """
    attention = Cost(0, 0, 4 * tokens**2 * dim, 3 * dim * tokens, heads * tokens)
    scales = Cost(dim, 1, 0, dim * tokens).times(2) if scaled else Cost()
    activation = Cost(kept=4 * dim * tokens)
    layers = [linear(dim, 3 * dim, tokens), linear(dim, dim, tokens), linear(dim, 4 * dim, tokens),
              linear(4 * dim, dim, tokens)]  # fmt: skip
    return sum(layers, attention + scales + activation + norm(dim, tokens).times(2))


def blocks(config: EncoderConfig, tokens: int) -> Cost:
    """The encoder's blocks over so many tokens."""
    return block(config.dim, config.heads, tokens, scaled=True).times(config.depth)


def embedding(config: EncoderConfig, kind: Kind, tokens: int) -> Cost:
    """What makes tokens of a sample: the patches' projection or the word pieces, positions, the norm of reports."""
    dim = config.dim
    if kind is Kind.TEXT:
        rows = config.vocabulary + TEXT_POSITIONS + 2
        return Cost(rows * dim, 3) + norm(dim, tokens) if config.vocabulary else Cost()
    axes = 2 if kind is Kind.IMAGE2D else 3
    patch = (3 if axes == 2 else 1) * int(PATCH**axes)
    return linear(patch, dim, tokens) + Cost((TABLE_ROWS[axes] + TEMPORAL_POSITIONS) * dim, 2)


def passed(config: EncoderConfig, tokens: int) -> int:
    """Numbers that the encoder holds while `tokens` pass it without a backward pass: the outputs of all blocks, which
    the segmenter reads, and what one block works with.
    """
    return (config.depth + 10) * config.dim * tokens


def class_token(config: EncoderConfig) -> Cost:
    """The class token of images and volumes."""
    return Cost(config.dim, 1)


def encoder(config: EncoderConfig) -> Cost:
    """All that the encoder holds, whatever it is used for; its parameters alone."""
    own = (Kind.IMAGE2D if axes == 2 else Kind.VOLUME3D for axes in config.own.values())
    embeddings = sum((embedding(config, kind, 0) for kind in (*Kind, *own)), Cost())
    return embeddings + norm(config.dim, 0) + class_token(config) + blocks(config, 0)


def encoded(config: EncoderConfig, shape: Shape, tokens: int, with_class_token: bool = True) -> Cost:
    """The encoder's work on `tokens` of a sample, with the parameters that take part in it."""
    if shape.kind is Kind.TEXT:
        return embedding(config, shape.kind, tokens) + blocks(config, tokens)
    made = embedding(config, shape.kind, tokens) + norm(config.dim, tokens)
    if not with_class_token:
        return made + blocks(config, tokens)
    return made + class_token(config) + blocks(config, tokens + 1)


def decoder(config: EncoderConfig, shape: Shape, visible: int) -> Cost:
    """The masked-image decoder on a sample of which the encoder has seen `visible` patches, and its loss."""
    dim, tokens, hidden = config.decoder_dim, shape.tokens, shape.tokens - visible
    tables = Cost((tokens + 2) * dim, 2)
    made = block(dim, config.decoder_heads, tokens + 1, scaled=False).times(config.decoder_depth)
    loss = Cost(kept32=2 * hidden * shape.patch)
    return (
        linear(config.dim, dim, visible + 1) + tables + made + norm(dim, hidden)
        + linear(dim, shape.patch, hidden) + loss
    )  # fmt: skip


def language_head(config: EncoderConfig, predicted: int) -> Cost:
    """The word-piece logits of `predicted` tokens, and their loss."""
    dim, words = config.dim, config.vocabulary
    table = Cost(dim * words + words, 2, 2 * dim * words * predicted, dim * predicted, 2 * words * predicted)
    # the query, and what GELU keeps
    return Cost(2 * dim, 1, 0, dim * predicted) + linear(dim, dim, predicted) + norm(dim, predicted) + table


def classifier_head(config: EncoderConfig, classes: int) -> Cost:
    """The norm of the mean feature and the linear layer on it."""
    return norm(config.dim, 1) + linear(config.dim, classes, 1)


def _convolution(inputs: int, outputs: int, taps: int, voxels: int) -> Cost:
    """A convolution without bias that makes `outputs` channels of so many voxels, each from `taps` ones."""
    return Cost(inputs * outputs * taps, 1, 2 * inputs * outputs * taps * voxels)


def _up(inputs: int, outputs: int, axes: int, voxels: int) -> Cost:
    """A transposed convolution that doubles every axis, to so many voxels."""
    made = _convolution(inputs, outputs, 1, voxels)
    return Cost(made.parameters * 2**axes, 1, made.operations)


def _residual(inputs: int, outputs: int, axes: int, voxels: int) -> Cost:
    """Two convolutions with instance norms beside a shortcut; it keeps what is between them, not its input."""
    made = _convolution(inputs, outputs, 3**axes, voxels) + _convolution(outputs, outputs, 3**axes, voxels)
    kept = Cost(kept=4 * outputs * voxels)
    if inputs == outputs:
        return made + kept
    return made + kept + _convolution(inputs, outputs, 1, voxels) + Cost(kept=outputs * voxels)


def segmenter_head(config: EncoderConfig, shape: Shape, channels: int) -> Cost:
    """The UNETR decoder over four depths of the encoder, and its loss; widths and grids as in MONAI's blocks."""
    dim, width, axes = config.dim, config.feature_size, len(shape.sizes)
    grid = shape.tokens

    def voxels(doublings: int) -> int:
        return grid * int(2 ** (axes * doublings))

    def kept(values: int, doublings: int) -> Cost:
        return Cost(kept=values * voxels(doublings))

    skips = _residual(shape.channels, width, axes, voxels(4)) + Cost(kept32=shape.channels * voxels(4))
    for outputs, steps in ((2 * width, 2), (4 * width, 1), (8 * width, 0)):
        skips += kept(dim, 0) + _up(dim, outputs, axes, voxels(1))
        for step in range(2, 2 + steps):
            # the first input of a chain is kept, too
            skips += kept(outputs, 1) if step == 2 else Cost()
            skips += _up(outputs, outputs, axes, voxels(step)) + kept(outputs, step)
            skips += _residual(outputs, outputs, axes, voxels(step))
    ways = kept(dim, 0)
    for inputs, outputs, step in ((dim, 8 * width, 1), (8 * width, 4 * width, 2), (4 * width, 2 * width, 3),
                                  (2 * width, width, 4)):  # fmt: skip
        ways += _up(inputs, outputs, axes, voxels(step)) + kept(2 * outputs, step)
        ways += _residual(2 * outputs, outputs, axes, voxels(step))
    # the last block's gradients are as large as what it keeps, at a moment when all of that is still there
    ways += kept(4 * width, 4)
    out = _convolution(width, channels, 1, voxels(4)) + Cost(channels, 1)
    # logits, probabilities, targets and what Dice and cross-entropy make of them
    loss = Cost(kept32=8 * channels * voxels(4))
    return skips + ways + out + loss


def segmented(config: EncoderConfig, shape: Shape) -> int:
    """Numbers that the UNETR decoder holds at once without a backward pass: its first and last blocks work on the full
    grid, beside the other skips.
    """
    width, axes = config.feature_size, len(shape.sizes)
    skips = sum(2**step * width * shape.tokens * 2 ** (axes * (4 - step)) for step in range(4))
    return int(skips + 5 * width * shape.voxels)
