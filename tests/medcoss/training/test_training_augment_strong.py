"""Strong augmentation: image and mask move together, the outside is told apart, the generator decides all."""

import numpy as np
import pytest

from medcoss.training.augment_strong import OUTSIDE, augment_strongly


@pytest.mark.parametrize("shape", [(3, 48, 64), (1, 16, 32, 32)])
def test_image_and_mask_move_together(shape: tuple[int, ...]) -> None:
    inner = tuple(slice(n // 4, n // 2) for n in shape[1:])
    mask = np.zeros((2, *shape[1:]), np.uint8)
    mask[0][inner] = 1
    image = np.repeat(mask[:1], shape[0], axis=0).astype(np.float32) * 200 + 20
    places, outside, changed = [], 0, 0
    for seed in range(24):
        moved, moved_mask = augment_strongly(image, np.random.default_rng(seed), mask)
        again, again_mask = augment_strongly(image, np.random.default_rng(seed), mask)
        assert moved_mask is not None and again_mask is not None
        assert np.array_equal(moved, again) and np.array_equal(moved_mask, again_mask)
        assert (moved.shape, moved.dtype, moved_mask.shape, moved_mask.dtype) == (
            shape,
            np.float32,
            mask.shape,
            np.int8,
        )
        assert set(np.unique(moved_mask[0])) <= {OUTSIDE, 0, 1}
        assert not (moved_mask[1] == 1).any()
        # bright where the structure is, however the grey values were changed
        inside, around = moved[0][moved_mask[0] == 1], moved[0][moved_mask[0] == 0]
        assert np.median(inside) > np.median(around) + 60
        places.append(tuple(np.argwhere(moved_mask[0] == 1).mean(0).round(1)))
        outside += bool((moved_mask == OUTSIDE).any())
        changed += not np.allclose(np.sort(moved.ravel()), np.sort(image.ravel()), atol=1)
    assert len(set(places)) > 2 ** (len(shape) - 1), "mirrored along every axis, and turned"
    assert 0 < outside < 16
    assert changed > 12


def test_what_was_not_known_is_not_known_afterwards() -> None:
    image, mask = np.zeros((1, 8, 16, 16), np.float32), np.full((1, 8, 16, 16), -1, np.int8)
    for seed in range(8):
        moved, found = augment_strongly(image, np.random.default_rng(seed), mask)
        assert found is not None and (found == OUTSIDE).all()
        assert np.isfinite(moved).all()
    assert augment_strongly(image, np.random.default_rng(0))[1] is None
