"""Sizes of the encoder and of what is built on it, free of torch: forecasts are made of them, too."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

# edge of a patch in pixels or voxels, and rows of the position tables, by number of axes
PATCH = 16
TABLE_ROWS = {2: 1024, 3: 4096}
TEXT_POSITIONS = 512
TEMPORAL_POSITIONS = 8
# tokens of a report
REPORT_LENGTH = 112

Positions = Literal["grid", "flat"]
TextAttention = Literal["bidirectional", "published", "published_batched"]


@dataclass(frozen=True)
class EncoderConfig:
    """Everything that rebuilds an encoder.

    `vocabulary` is the number of word pieces, 0 for an encoder that has learnt no reports.
    `positions` reads the position tables by row and column, interpolated when the input
    size changes ("grid"), or by flat token index ("flat", published). `attention` of text
    is bidirectional over the real tokens ("bidirectional"), or causal with the padding counted in
    features and distillation ("published"); "published_batched" mixes up the padding masks of a
    batch among its samples, too, as the published code does. `own` names declared modalities that have a patch
    embedding of their own, with the number of its axes, 2 for images and 3 for volumes.
    """

    dim: int
    depth: int
    heads: int
    layer_scale: float
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int
    feature_size: int
    vocabulary: int = 0
    positions: Positions = "grid"
    attention: TextAttention = "bidirectional"
    own: dict[str, int] = field(default_factory=dict)

    @property
    def taps(self) -> tuple[int, int, int, int]:
        """Zero-based blocks whose outputs the segmenter reads; 3, 6, 9, 11 for twelve blocks."""
        first, second, third = (round(self.depth * k / 4) for k in (1, 2, 3))
        return first, second, third, self.depth - 1

    @property
    def counts_padding(self) -> bool:
        """True when the padding of reports takes part in features and distillation, as published."""
        return self.attention != "bidirectional"

    def with_vocabulary(self, size: int) -> "EncoderConfig":
        """The same encoder with a text embedding of `size` word pieces."""
        return replace(self, vocabulary=size)

    def with_own(self, name: str, axes: int) -> "EncoderConfig":
        """The same encoder with a patch embedding for one modality alone."""
        return replace(self, own=self.own | {name: axes})

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for the model's record."""
        return asdict(self)


SIZES: dict[str, EncoderConfig] = {
    "tiny": EncoderConfig(
        dim=192, depth=8, heads=3, layer_scale=1.0, decoder_dim=96, decoder_depth=2, decoder_heads=3, feature_size=8
    ),
    "small": EncoderConfig(
        dim=384, depth=12, heads=6, layer_scale=1e-2, decoder_dim=256, decoder_depth=4, decoder_heads=8, feature_size=16
    ),
    "base": EncoderConfig(
        dim=768, depth=12, heads=12, layer_scale=1e-3, decoder_dim=512, decoder_depth=8, decoder_heads=16,
        feature_size=16,
    ),
    "large": EncoderConfig(
        dim=1024, depth=24, heads=16, layer_scale=1e-3, decoder_dim=512, decoder_depth=8, decoder_heads=16,
        feature_size=16,
    ),
}  # fmt: skip
"""The encoders to start from, by name.

`layer_scale` is what each residual branch is scaled by at the start: 1e-3 for base and large, as published, but
1e-2 for small and 1 for tiny, because with 1e-3 a tiny model does not move in the minutes it is meant for. So drop
path weighs more: at 0.1, a tiny student is at a distance of about 1 from a teacher of the same weights, most of the
logged `distill/<modality>` (docs/training.md).
"""
