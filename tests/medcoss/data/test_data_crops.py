"""Random windows: image and mask stay together, labels are not missed, and what is small is padded."""

import numpy as np
import pytest

from medcoss.data.crops import random_window


@pytest.mark.parametrize(
    ("shape", "size"), [((40, 50), (16, 32)), ((20, 40, 30), (16, 16, 16)), ((8, 40, 12), (16,) * 3)]
)
def test_windows_are_parts_of_image_and_mask_alike(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    image = rng.permutation(int(np.prod(shape))).reshape(1, *shape).astype(np.float32) + 1
    mask = (image % 7 == 0).astype(np.uint8)
    starts = set()
    for _ in range(60):
        found, labels = random_window(image, mask, size, rng)
        assert found.shape == labels.shape == (1, *size)
        inside = found > 1
        assert np.array_equal(labels[inside], (found[inside] % 7 == 0))
        assert not labels[found < 1].any()
        # every axis is whole, padded around, or a part
        expected = np.prod([min(n, w) for n, w in zip(shape, size, strict=True)])
        assert len(np.unique(found)) in (expected, expected + 1)
        starts.add(float(found.sum(dtype=np.float64)))
    assert len(starts) > 5, "they lie at many places"


def test_a_third_of_the_windows_hold_the_rare_structure() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((1, 32, 128, 128), np.float32)
    mask = np.zeros((2, 32, 128, 128), np.uint8)
    mask[1, 30, 120, 5] = 1
    hits = [bool(random_window(image, mask, (16, 16, 16), rng)[1].any()) for _ in range(300)]
    assert 0.25 < np.mean(hits) < 0.45


def test_what_has_the_size_already_draws_nothing() -> None:
    image, mask = np.ones((1, 8, 8), np.float32), np.ones((1, 8, 8), np.uint8)
    rng, other = np.random.default_rng(0), np.random.default_rng(0)
    assert random_window(image, mask, (8, 8), rng)[0] is image
    assert rng.random() == other.random()
