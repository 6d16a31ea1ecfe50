"""What forecasts say of models without torch is what torch makes of them."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.pretext import LanguageHead, MaskedImageDecoder
from medcoss.specs import costs
from medcoss.specs.costs import Cost, Shape
from medcoss.specs.encoder import SIZES, EncoderConfig


def held(module: nn.Module) -> tuple[int, int]:
    """Parameters and tensors of a module."""
    found = list(module.parameters())
    return sum(p.numel() for p in found), len(found)


def counted(*parts: Cost) -> tuple[int, int]:
    whole = sum(parts, Cost())
    return whole.parameters, whole.tensors


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_counted_to_the_last(size: str) -> None:
    config = replace(SIZES[size], vocabulary=1000)
    image, volume = Shape.of(Kind.IMAGE2D, [1, 224, 192]), Shape.of(Kind.VOLUME3D, [1, 32, 192, 160])
    encoder = costs.encoder(config)
    with torch.device("meta"):
        assert counted(costs.encoder(SIZES[size])) == held(Encoder(SIZES[size]))
        assert counted(encoder) == held(Encoder(config))
        assert counted(costs.language_head(config, 7)) == held(LanguageHead(config))
        for name, shape in (("2d", image), ("3d", volume)):
            decoder = MaskedImageDecoder(config, {name: (shape.tokens, shape.patch)})
            assert counted(costs.decoder(config, shape, 5)) == held(decoder)
            segmenter = Segmenter(Encoder(config), shape.kind, 3)
            assert counted(encoder, costs.segmenter_head(config, shape, 3)) == held(segmenter)
        classifier = Classifier(Encoder(config), Kind.IMAGE2D, 4)
        assert counted(encoder, costs.classifier_head(config, 4)) == held(classifier)


@settings(max_examples=15, deadline=None)
@given(
    heads=st.integers(1, 4), depth=st.integers(2, 5), width=st.sampled_from([2, 4, 8]), words=st.integers(0, 300),
    channels=st.integers(1, 5), grid=st.lists(st.integers(1, 3), min_size=2, max_size=3),
)  # fmt: skip
def test_models_of_any_size_are(heads: int, depth: int, width: int, words: int, channels: int, grid: list[int]) -> None:
    config = EncoderConfig(16 * heads, depth, heads, 0.1, 8 * heads, depth, heads, width, words)
    kind = Kind.IMAGE2D if len(grid) == 2 else Kind.VOLUME3D
    shape = Shape.of(kind, [1, *(16 * n for n in grid)])
    with torch.device("meta"):
        model = Segmenter(Encoder(config), kind, channels)
    assert counted(costs.encoder(config), costs.segmenter_head(config, shape, channels)) == held(model)
