"""Masked modelling: patch order, masks, decoder and losses."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.models.pretext import (
    LanguageHead,
    MaskedImageDecoder,
    patch_statistics,
    patchify,
    random_mask,
    reconstruction_loss,
    unpatchify,
)
from tests.medcoss.export.small_models import CONFIG


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1, 3]), st.lists(st.integers(1, 3), min_size=2, max_size=3))
def test_unpatchify_undoes_patchify(channels: int, grid: list[int]) -> None:
    shape = (2, channels, *(16 * n for n in grid))
    x = torch.rand(shape)
    patches = patchify(x)
    assert patches.shape == (2, int(np.prod(grid)), channels * 16 ** len(grid))
    assert torch.equal(unpatchify(patches, shape), x)


def test_patches_are_ordered_as_documented() -> None:
    image = torch.arange(3 * 32 * 48).reshape(1, 3, 32, 48)
    patches = patchify(image)
    # second row of patches, third column; within it row 4, column 7, channel 1
    assert patches[0, 1 * 3 + 2, (4 * 16 + 7) * 3 + 1] == image[0, 1, 16 + 4, 32 + 7]
    volume = torch.arange(32 * 32 * 48).reshape(1, 1, 32, 32, 48)
    patches = patchify(volume)
    assert patches[0, (1 * 2 + 1) * 3 + 0, (3 * 16 + 4) * 16 + 5] == volume[0, 0, 16 + 3, 16 + 4, 5]


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 999))
def test_masks_divide_the_patches(length: int, ratio: float, seed: int) -> None:
    noise = torch.rand((3, length), generator=torch.Generator().manual_seed(seed))
    kept, removed = random_mask(noise, ratio)
    assert kept.shape[1] == max(int(length * (1 - ratio)), 1)
    assert removed.shape[1] >= 1
    for row in range(3):
        assert sorted([*kept[row].tolist(), *removed[row].tolist()]) == list(range(length))
        assert noise[row][kept[row]].max() <= noise[row][removed[row]].min()


def test_published_mask_sizes() -> None:
    assert random_mask(torch.rand(1, 196), 0.75)[0].shape == (1, 49)
    assert random_mask(torch.rand(1, 144), 0.75)[0].shape == (1, 36)


def test_statistics_are_unbiased() -> None:
    patches = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    mean, deviation = patch_statistics(patches)
    assert mean.item() == 3
    assert deviation.item() == pytest.approx((14 / 3 + 1e-6) ** 0.5)


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (2, 1, 16, 32, 48)], ids=["image", "volume"])
def test_reconstruction_loss_counts_removed_patches_only(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    removed = torch.tensor([[1, 4], [0, 5]])
    patches = patchify(x)
    mean, deviation = patch_statistics(patches)
    target = (patches - mean) / deviation
    chosen = torch.stack([target[0, [1, 4]], target[1, [0, 5]]])
    assert reconstruction_loss(chosen, x, removed).item() == pytest.approx(0, abs=1e-10)
    assert reconstruction_loss(chosen + 2, x, removed).item() == pytest.approx(4, rel=1e-5)
    patches[0, 0] += 10
    changed = unpatchify(patches, shape)
    assert torch.equal(reconstruction_loss(chosen, changed, removed), reconstruction_loss(chosen, x, removed))


def test_constant_patches_have_a_finite_target() -> None:
    loss = reconstruction_loss(torch.zeros(1, 1, 768), torch.full((1, 3, 16, 32), 0.3), torch.tensor([[1]]))
    assert torch.isfinite(loss)


def test_decoder_answers_for_places_not_for_their_order() -> None:
    torch.manual_seed(0)
    decoder = MaskedImageDecoder(CONFIG, {"2d": (6, 20)}).eval()
    torch.nn.init.normal_(decoder.positions["2d"])
    encoded = torch.randn(1, 4, 48)
    kept, removed = torch.tensor([[2, 0, 5]]), torch.tensor([[1, 3, 4]])
    with torch.inference_mode():
        found = decoder(encoded, kept, removed, "2d")
        assert found.shape == (1, 3, 20)
        again = decoder(encoded[:, [0, 3, 1, 2]], kept[:, [2, 0, 1]], removed[:, [1, 2, 0]], "2d")
    assert torch.allclose(found[:, [1, 2, 0]], again, atol=1e-5)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-3), "places differ"


def test_language_head_leaves_the_tokens_alone() -> None:
    head = LanguageHead(CONFIG.with_vocabulary(11))
    tokens = torch.randn(4, 48)
    before = tokens.clone()
    assert head(tokens).shape == (4, 11)
    assert torch.equal(tokens, before)


# published numbers that need no weights


@pytest.fixture(scope="module")
def fill(parity: Path) -> ModuleType:
    sys.path.insert(0, str(parity))
    try:
        import fill as module
    finally:
        sys.path.remove(str(parity))
    return module


@pytest.mark.parametrize("name", ["2d", "3d"])
def test_patches_and_their_statistics_are_the_published_ones(parity: Path, fill: ModuleType, name: str) -> None:
    golden = np.load(parity / "mae.npz")
    size = (224, 224) if name == "2d" else (16, 192, 192)
    x = torch.from_numpy(fill.make_input(name, 11, batch=2, size=size))
    patches = patchify(x)
    mean, deviation = patch_statistics(patches)
    found = {"patches": patches, "patch_mean": mean[..., 0], "patch_var": deviation[..., 0] ** 2 - 1e-6}
    for key, tensor in found.items():
        difference = fill.compare(f"{key}_{name}", tensor.numpy(), golden)
        assert difference["rel"] < 2e-5, (key, difference)
