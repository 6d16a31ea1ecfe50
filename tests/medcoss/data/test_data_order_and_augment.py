"""The order of samples is a pure function; augmentation moves image and mask alike."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.data.augment import augment_image, augment_volume, random_resized_crop
from medcoss.data.sampler import drawn_batches, epoch_batches, epoch_order, sample_rng

seeds = st.integers(0, 2**31 - 1)


@given(st.integers(1, 200), seeds, st.integers(0, 1000))
def test_an_epoch_shows_every_sample_once(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert sorted(order) == list(range(n))
    assert np.array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_and_seeds_differ() -> None:
    assert not np.array_equal(epoch_order(50, 1, 0), epoch_order(50, 1, 1))
    assert not np.array_equal(epoch_order(50, 1, 0), epoch_order(50, 2, 0))


@given(st.integers(1, 100), st.integers(1, 40), seeds)
def test_batches_are_whole_and_disjoint(n: int, size: int, seed: int) -> None:
    batches = epoch_batches(n, size, seed, 3)
    assert len(batches) == max(n // size, 1)
    assert {len(batch) for batch in batches} == {min(n, size)}
    seen = np.concatenate(batches)
    assert len(set(seen)) == len(seen)


def test_no_sample_is_left_out_in_every_epoch() -> None:
    seen = {int(i) for epoch in range(20) for batch in epoch_batches(10, 4, 0, epoch) for i in batch}
    assert seen == set(range(10))


@given(st.integers(1, 300), st.integers(1, 40), seeds)
def test_batches_of_like_lengths_show_the_same_samples(n: int, size: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(5, 112, n)
    plain, sorted_ones = epoch_batches(n, size, seed, 1), epoch_batches(n, size, seed, 1, lengths)
    assert [len(batch) for batch in sorted_ones] == [len(batch) for batch in plain]
    assert sorted(np.concatenate(sorted_ones)) == sorted(np.concatenate(plain))


def test_little_of_a_batch_of_like_lengths_is_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 113, 5000)

    def padding(batches: list[np.ndarray]) -> float:
        computed = sum(lengths[batch].max() * len(batch) for batch in batches)
        return float(1 - sum(lengths[batch].sum() for batch in batches) / computed)

    assert padding(epoch_batches(5000, 32, 0, 0)) > 0.4
    assert padding(epoch_batches(5000, 32, 0, 0, lengths)) < 0.12
    neighbours = []
    for epoch in (0, 1):
        batches = [sorted(map(int, batch)) for batch in epoch_batches(200, 8, 0, epoch, lengths[:200])]
        neighbours.append({pair for batch in batches for pair in combinations(batch, 2)})
    assert len(neighbours[0] & neighbours[1]) < 0.6 * len(neighbours[0]), "other epochs, other company"


def test_drawing_with_replacement_repeats_and_leaves_out() -> None:
    batches = drawn_batches(1000, 100, 0, 0)
    assert [len(batch) for batch in batches] == [100] * 10
    # with as many draws as samples, 1 - 1/e of them are seen
    assert 0.6 < len(set(np.concatenate(batches).tolist())) / 1000 < 0.67
    assert np.array_equal(batches[3], drawn_batches(1000, 100, 0, 0)[3])
    assert not np.array_equal(batches[3], drawn_batches(1000, 100, 0, 1)[3])


def test_the_generator_of_a_sample_is_its_own() -> None:
    assert sample_rng(1, 2, 3).random() == sample_rng(1, 2, 3).random()
    values = {sample_rng(*key).random() for key in ((1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1))}
    assert len(values) == 5


def blob(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """A box of ones somewhere in zeros."""
    rng = np.random.default_rng(seed)
    low = [int(rng.integers(0, n // 2)) for n in shape]
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, a + n // 3 + 2) for a, n in zip(low, shape, strict=True))] = 1
    return mask


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_image_and_mask_move_together(seed: int) -> None:
    mask = blob((48, 64), seed)
    image = np.repeat(mask[None].astype(np.float32), 3, axis=0)
    moved, moved_mask = augment_image(image, np.random.default_rng(seed), mask[None])
    assert moved_mask is not None
    assert moved.shape == image.shape
    assert moved.dtype == np.float32
    assert moved_mask.shape == (1, 48, 64)
    assert set(np.unique(moved_mask)) <= {0, 1}
    # they differ at most where the bicubic edge is grey
    sure = np.abs(moved[0] - 0.5) > 0.45
    assert np.array_equal(moved[0][sure] > 0.5, moved_mask[0][sure] > 0)
    assert sure.mean() > 0.5


@settings(max_examples=40, deadline=None)
@given(seeds, st.sampled_from([(0.2, 1.0), (0.6, 1.0), (0.05, 0.1)]))
def test_crops_stay_in_range_and_are_reproducible(seed: int, scale: tuple[float, float]) -> None:
    image = np.random.default_rng(seed).random((3, 32, 48), dtype=np.float32)
    first, _ = augment_image(image, np.random.default_rng(seed), scale=scale)
    second, _ = augment_image(image, np.random.default_rng(seed), scale=scale)
    assert np.array_equal(first, second)
    assert image.min() <= first.min()
    assert first.max() <= image.max()


def test_a_crop_enlarges_what_it_shows() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (1, 64, 1))
    found, _ = random_resized_crop(ramp, np.random.default_rng(0), (0.25, 0.25))
    step = np.diff(found[0, 32])[4:-4].mean()
    assert 0.4 < step < 0.6, "a quarter of the area is half of the width"


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_volumes_and_masks_are_mirrored_together(seed: int) -> None:
    mask = blob((8, 10, 12), seed)[None]
    volume = mask.astype(np.float32) * 3 - 1
    moved, moved_mask = augment_volume(volume, np.random.default_rng(seed), mask)
    assert moved_mask is not None
    assert np.array_equal(moved, moved_mask.astype(np.float32) * 3 - 1)
    assert moved.flags["C_CONTIGUOUS"]
    louder, louder_mask = augment_volume(volume, np.random.default_rng(seed), mask, intensity=0.1)
    assert louder_mask is not None
    assert np.array_equal(louder_mask, moved_mask)
    assert np.corrcoef(louder.ravel(), moved.ravel())[0, 1] > 0.9999
    assert 0.89 < louder.std() / moved.std() < 1.11


def test_every_axis_is_mirrored_sometimes() -> None:
    volume = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    corners = {float(augment_volume(volume, np.random.default_rng(i))[0][0, 0, 0, 0]) for i in range(200)}
    assert len(corners) == 8
