"""One encoder for reports, images and volumes: shapes, masks, positions."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.modalities import Kind
from medcoss.models.embeddings import PatchEmbedding
from medcoss.models.encoder import Embedder, Encoder, pooled_text
from medcoss.models.heads import Classifier, HeadShape, Segmenter
from medcoss.models.pretext import LanguageHead, MaskedImageDecoder, PretrainingModel, image_kind
from medcoss.models.registry import count_parameters
from medcoss.specs.encoder import SIZES, EncoderConfig
from medcoss.training.losses import segmentation_loss
from tests.medcoss.export.small_models import CONFIG

IMAGES = [(3, 224, 224), (3, 64, 96), (3, 16, 32), (3, 256, 256)]
VOLUMES = [(1, 16, 192, 192), (1, 16, 32, 48), (1, 32, 64, 64), (1, 48, 16, 32)]


def tokens(shape: tuple[int, ...]) -> int:
    return int(np.prod([n // 16 for n in shape[1:]]))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    made = Encoder(CONFIG.with_vocabulary(50)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


def reports(*lengths: int, total: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids and attention of reports of some lengths."""
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(5, 50, (len(lengths), total), generator=generator)
    attention = torch.tensor([[1] * n + [0] * (total - n) for n in lengths])
    return ids, attention


@pytest.mark.parametrize("shape", [*IMAGES, *VOLUMES], ids=str)
def test_every_grid_gives_one_token_a_patch_and_the_class_token(encoder: Encoder, shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape)
    with torch.inference_mode():
        assert encoder.encode_image(x).shape == (2, 1 + tokens(shape), 48)
        feature = Embedder(encoder, Kind.IMAGE2D if len(shape) == 3 else Kind.VOLUME3D)(x)
    assert feature.shape == (2, 48)
    assert torch.isfinite(feature).all()


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_every_size_reads_every_modality(size: str) -> None:
    config = dataclasses.replace(SIZES[size], depth=1, decoder_depth=1)
    module = Encoder(config.with_vocabulary(50)).eval()
    with torch.inference_mode():
        for shape in ((3, 32, 32), (1, 16, 32, 32)):
            x = torch.rand(1, *shape)
            kept, removed = torch.tensor([[2]]), torch.tensor([[0, 1, 3]])
            encoded = module.encode_image(x, kept)
            pixels = 768 if len(shape) == 3 else 4096
            kind = image_kind(x)
            predicted = MaskedImageDecoder(config, {kind: (4, pixels)})(encoded, kept, removed, kind)
            assert predicted.shape == (1, 3, pixels)
        encoded = module.encode_text(*reports(5, 20))
        assert LanguageHead(module.config)(encoded[0]).shape == (20, 50)


def test_base_is_the_published_size() -> None:
    config = SIZES["base"]
    assert (config.dim, config.depth, config.heads) == (768, 12, 12)
    assert (config.decoder_dim, config.decoder_depth, config.decoder_heads) == (512, 8, 16)
    assert config.taps == (3, 6, 9, 11)
    with torch.device("meta"):
        module = PretrainingModel(config.with_vocabulary(49_411), {"2d": (196, 768), "3d": (144, 4096)})
    blocks = count_parameters(module.encoder.blocks)
    assert blocks == 12 * (12 * 768**2 + 13 * 768 + 2 * 768)
    # two published tables, of 1600 rows and of one, are read by nothing
    assert count_parameters(module) == 199_205_635 - 1601 * 768


def test_sizes_grow() -> None:
    counts = []
    for name in SIZES:
        with torch.device("meta"):
            counts.append(count_parameters(Encoder(SIZES[name])))
    assert counts[0] < 6e6 < counts[1] < 40e6 < counts[2] < 100e6 < counts[3] < 330e6


def test_taps_are_four_depths_of_any_encoder() -> None:
    for depth in range(3, 25):
        taps = dataclasses.replace(CONFIG, depth=depth).taps
        assert list(taps) == sorted(taps)
        assert taps[0] >= 0
        assert taps[3] == depth - 1


# text


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 8), st.integers(0, 10_000))
def test_padding_changes_nothing(encoder: Encoder, length: int, padding: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 50, (1, length + padding), generator=generator)
    attention = torch.tensor([[1] * length + [0] * padding])
    other = ids.clone()
    other[:, length:] = torch.randint(0, 50, (1, padding), generator=generator)
    with torch.inference_mode():
        alone = encoder.encode_text(ids[:, :length], attention[:, :length])
        padded = encoder.encode_text(ids, attention)[:, :length]
        assert torch.allclose(alone, padded, atol=1e-5)
        # what stands in the padding is never read
        assert torch.equal(padded, encoder.encode_text(other, attention)[:, :length])
        assert torch.equal(pooled_text(encoder, ids, attention), pooled_text(encoder, other, attention))


def test_a_report_is_the_same_in_any_batch(encoder: Encoder) -> None:
    ids, attention = reports(20, 7, 13)
    with torch.inference_mode():
        together = pooled_text(encoder, ids, attention)
        for i in range(3):
            assert torch.allclose(pooled_text(encoder, ids[i : i + 1], attention[i : i + 1])[0], together[i], atol=1e-5)


def test_attention_looks_both_ways_unless_published(encoder: Encoder) -> None:
    ids, attention = reports(10, total=10)
    later = ids.clone()
    later[0, 9] = (later[0, 9] + 1) % 50
    causal = Encoder(dataclasses.replace(encoder.config, attention="published")).eval()
    causal.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        first = (encoder.encode_text(x, attention)[0, :9] for x in (ids, later))
        assert not torch.allclose(*first, atol=1e-4)
        first = (causal.encode_text(x, attention)[0, :9] for x in (ids, later))
        assert torch.equal(*first)


def test_published_batches_read_each_others_padding_masks(encoder: Encoder) -> None:
    ids, attention = reports(10, 4)
    mixed = Encoder(dataclasses.replace(encoder.config, attention="published_batched")).eval()
    own = Encoder(dataclasses.replace(encoder.config, attention="published")).eval()
    for module in (mixed, own):
        module.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        together, alone = mixed.encode_text(ids, attention), own.encode_text(ids, attention)
        assert not torch.allclose(together, alone, atol=1e-4)
        for i in range(2):
            one = mixed.encode_text(ids[i : i + 1], attention[i : i + 1])
            assert torch.allclose(one, own.encode_text(ids[i : i + 1], attention[i : i + 1]), atol=1e-6)
        same = torch.ones_like(attention)
        assert torch.allclose(mixed.encode_text(ids, same), own.encode_text(ids, same), atol=1e-6)
        assert torch.allclose(pooled_text(own, ids, attention), alone.mean(dim=1), atol=1e-6), "padding counts"


def test_an_encoder_without_words_says_so() -> None:
    with pytest.raises(ValueError, match="pre-train a stage on reports"):
        Encoder(CONFIG).encode_text(*reports(3))


# images


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 16, 48, 64)], ids=["image", "volume"])
def test_masked_encoding_sees_only_the_visible_patches(encoder: Encoder, shape: tuple[int, ...]) -> None:
    x = torch.rand(1, *shape)
    kept = torch.tensor([[5, 0, 9]])
    hidden = x.clone()
    columns = shape[-1] // 16
    visible = torch.zeros(shape[-2:], dtype=torch.bool)
    for place in kept[0].tolist():
        row, column = divmod(place, columns)
        visible[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] = True
    hidden[..., ~visible] = 99.0
    with torch.inference_mode():
        encoded = encoder.encode_image(x, kept)
        assert encoded.shape == (1, 4, 48)
        assert torch.equal(encoded, encoder.encode_image(hidden, kept))
        # in the order of `kept`, each with its own position
        swapped = encoder.encode_image(x, kept[:, [2, 0, 1]])
        assert torch.allclose(encoded[:, [0, 3, 1, 2]], swapped, atol=1e-5)
        everything = encoder.encode_image(x, torch.arange(tokens(shape))[None])
        assert torch.allclose(everything, encoder.encode_image(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 32, 48), (1, 16, 48, 32), (1, 32, 16, 16), (1, 160, 16, 16)], ids=str)
def test_where_a_patch_lies_matters_on_every_axis(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with torch.no_grad():
        same = encoder.embed_image(torch.zeros(1, *shape))[0]
    # patches of equal content differ by their position alone
    distances = torch.cdist(same, same) + 1e9 * torch.eye(len(same))
    assert distances.min() > 1e-3


def test_native_positions_are_read_as_published() -> None:
    for axes, channels, size, count in ((2, 3, (224, 224), 196), (3, 1, (16, 192, 192), 144)):
        x = torch.rand(1, channels, *size)
        grid, flat = (PatchEmbedding(axes, channels, 24, positions) for positions in ("grid", "flat"))
        flat.load_state_dict(grid.state_dict())
        with torch.inference_mode():
            assert torch.equal(grid(x), flat(x))
            patches = grid.projection(x).flatten(2).transpose(1, 2)
            assert torch.allclose(grid(x) - patches, grid.spatial.weight[:count] + grid.temporal.weight[0], atol=1e-5)


def test_positions_follow_the_anatomy_when_the_size_changes() -> None:
    embedding = PatchEmbedding(2, 3, 1, "grid")
    with torch.no_grad():
        embedding.projection.weight.zero_()
        embedding.projection.bias.zero_()
        embedding.temporal.weight.zero_()
        rows = torch.arange(14.0).repeat_interleave(14)
        embedding.spatial.weight[:196, 0] = rows
        found = embedding(torch.zeros(1, 3, 448, 112)).reshape(28, 7)
    assert torch.allclose(found, found[:, :1].expand(-1, 7), atol=1e-4), "a row has one height"
    assert torch.allclose(found[2:-2, 0], (torch.arange(28.0) / 2 - 0.25)[2:-2], atol=0.1)


def test_deeper_volumes_keep_the_published_rule_when_asked() -> None:
    embedding = PatchEmbedding(3, 1, 8, "flat")
    with torch.no_grad():
        embedding.projection.weight.zero_()
        found = embedding(torch.zeros(1, 1, 32, 32, 32))[0] - embedding.projection.bias
        assert torch.allclose(found, embedding.spatial.weight[:8] + embedding.temporal.weight[0], atol=1e-6)


# determinism


def test_drop_path_is_off_in_evaluation_and_on_in_training() -> None:
    torch.manual_seed(1)
    module = Encoder(CONFIG)
    x = torch.rand(4, 3, 32, 32)
    module.set_drop_path(0.5)
    module.eval()
    with torch.inference_mode():
        assert torch.equal(module.encode_image(x), module.encode_image(x))
        module.train()
        assert not torch.equal(module.encode_image(x), module.encode_image(x))
        module.set_drop_path(0.0)
        assert torch.equal(module.encode_image(x), module.encode_image(x))


def test_the_same_seed_makes_the_same_weights() -> None:
    def made() -> dict[str, torch.Tensor]:
        torch.manual_seed(7)
        return Encoder(CONFIG.with_vocabulary(9)).state_dict()

    first, second = made(), made()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("shape", [(3, 32, 64), (1, 16, 32, 48), (1, 32, 32, 32)], ids=str)
def test_segmenter_answers_on_the_grid_of_its_input(shape: tuple[int, ...]) -> None:
    kind = Kind.IMAGE2D if len(shape) == 3 else Kind.VOLUME3D
    module = Segmenter(Encoder(CONFIG), kind, 2)
    assert module(torch.rand(2, *shape)).shape == (2, 2, *shape[1:])


def test_a_segmenter_of_small_volumes_has_the_gradients_of_float32_in_bf16() -> None:
    torch.manual_seed(0)
    module = Segmenter(Encoder(SIZES["tiny"]), Kind.VOLUME3D, 1)
    volumes, target = torch.randn(4, 1, 16, 64, 64), (torch.rand(4, 1, 16, 64, 64) > 0.7).float()
    weights = [module.decoder5.conv_block.conv1.conv.weight, module.decoder5.conv_block.conv2.conv.weight]

    def gradients(is_mixed: bool) -> list[torch.Tensor]:
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
            logits = module(volumes)
        segmentation_loss(logits.float(), target).backward()
        return [weight.grad.clone() for weight in weights if weight.grad is not None]

    expected = gradients(is_mixed=False)
    # what torch does by itself is wrong most times, and differs from one to the next
    for _ in range(3):
        for found, right in zip(gradients(is_mixed=True), expected, strict=True):
            assert (found - right).norm() < 0.5 * right.norm()


def test_segmenter_starts_at_the_share_of_each_channel() -> None:
    module = Segmenter(Encoder(CONFIG), Kind.IMAGE2D, 3)
    module.set_prior(torch.tensor([0.2, 0.0, 0.9]))
    assert torch.allclose(torch.sigmoid(module.out.bias), torch.tensor([0.2, 0.001, 0.5]), atol=1e-6)
    with pytest.raises(ValueError, match="reports cannot be segmented"):
        Segmenter(Encoder(CONFIG), Kind.TEXT, 1)


# the classifier


def test_classifier_reads_patches_not_the_class_token() -> None:
    module = Classifier(Encoder(CONFIG), Kind.IMAGE2D, 3).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        logits, feature = module(x)
        assert torch.allclose(feature, module.norm(module.encoder.encode_image(x)[:, 1:].mean(dim=1)))
    assert logits.shape == (2, 3)
    assert feature.shape == (2, 48)


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("count", [2, 3, 8, 100])
def test_folding_keeps_the_answers_of_the_standardised_head(count: int, head: HeadShape) -> None:
    torch.manual_seed(2)
    module = Classifier(Encoder(CONFIG), Kind.IMAGE2D, 4, head)
    torch.nn.init.normal_(module.first.weight)
    torch.nn.init.normal_(module.first.bias)
    # samples differ far less than their common mean is large, one feature is the same in all
    features = 5 + 0.05 * torch.randn(count, 48)
    features[:, 7] = 1.25
    module.standardise()
    standardised = module.spread.train()(features)
    expected = module.head(standardised)
    module.fold(features)
    assert torch.allclose(module.head(module.spread(features)), expected, atol=2e-3)
    assert not [name for name in module.state_dict() if name.startswith("spread")]
    folded = module.first.weight.clone()
    module.fold(features)
    assert torch.equal(module.first.weight, folded), "folding twice changes nothing"


def test_folding_without_standardisation_changes_nothing() -> None:
    module = Classifier(Encoder(CONFIG), Kind.IMAGE2D, 4)
    before = module.head.weight.clone()
    module.fold(torch.randn(10, 48))
    assert torch.equal(module.head.weight, before)


def test_config_round_trip() -> None:
    config = CONFIG.with_vocabulary(99)
    assert EncoderConfig(**config.to_dict()) == config
