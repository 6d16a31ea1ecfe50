"""The pretext heads of a stage: one for what it learns, two when reports and images are learnt jointly."""

from collections.abc import Sequence

from torch import nn

from medcoss.data.shards import ShardReader
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import ImageKind, LanguageHead, MaskedImageDecoder
from medcoss.specs.encoder import PATCH


def image_kind_of(reader: ShardReader) -> ImageKind:
    """Which of a decoder's inputs the samples of a dataset are."""
    return "2d" if reader.info.kind is Kind.IMAGE2D else "3d"


def stage_heads(encoder: Encoder, readers: Sequence[ShardReader]) -> list[nn.Module]:
    """Heads for all datasets that are learnt, that of the first one first: a decoder, a language head, or both."""
    found: dict[bool, nn.Module] = {}
    for reader in readers:
        text = reader.info.kind is Kind.TEXT
        if text not in found:
            found[text] = LanguageHead(encoder.config) if text else _decoder(encoder, readers)
    return list(found.values())


def _decoder(encoder: Encoder, readers: Sequence[ShardReader]) -> MaskedImageDecoder:
    inputs: dict[ImageKind, tuple[int, int]] = {}
    for reader in (reader for reader in readers if reader.info.kind is not Kind.TEXT):
        tokens, pixels = 1, encoder.channels_of(reader.info.kind, reader.info.sample_shape[0])
        for n in reader.info.sample_shape[1:]:
            tokens, pixels = tokens * (n // PATCH), pixels * PATCH
        inputs[image_kind_of(reader)] = (tokens, pixels)
    return MaskedImageDecoder(encoder.config, inputs)


def named_heads(heads: Sequence[nn.Module]) -> nn.Module:
    """The heads under the names that model folders keep them by."""
    return nn.ModuleDict({"language" if isinstance(head, LanguageHead) else "decoder": head for head in heads})
