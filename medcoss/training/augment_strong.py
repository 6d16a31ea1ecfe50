"""Strong augmentation for small training sets: the transforms and probabilities of nnU-Net (Isensee et al., Nature
Methods 2021), by MONAI.
"""

from functools import cache
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Mask = NDArray[np.integer]
# voxels of the mask that came into view from outside, of which nothing is known (see the losses)
OUTSIDE = -1


def augment_strongly(image: Array, rng: np.random.Generator, mask: Mask | None = None) -> tuple[Array, Mask | None]:
    """Rotate, scale, blur, add noise, change brightness, contrast, resolution and gamma, and mirror.

    `image` is (C, H, W) or (1, D, H, W), `mask` (K, ...) of 0, 1 and -1 for not known; it is 8-bit and signed when it
    comes back, with -1 where the outside came into view. Depends on nothing but its arguments and the state of `rng`.
    """
    pipeline = _pipeline(image.ndim - 1, mask is not None)
    pipeline.set_random_state(seed=int(rng.integers(2**32)))
    # strengths are in standard deviations, whatever the unit of the grey values
    size = float(image.std()) or 1.0
    given: dict[str, Any] = {"image": image / np.float32(size)}
    if mask is not None:
        # the transforms fill in 0: moved up by one, that is the outside
        given["mask"] = mask.astype(np.float32) - OUTSIDE
    made = pipeline(given)
    moved = np.ascontiguousarray(np.asarray(made["image"]) * np.float32(size), dtype=np.float32)
    if mask is None:
        return moved, None
    return moved, np.ascontiguousarray(np.rint(np.asarray(made["mask"])) + OUTSIDE).astype(np.int8)


@cache
def _pipeline(axes: int, masked: bool) -> Any:
    """The transforms of images (2 axes) or volumes (3)."""
    # here, because it takes seconds that other jobs need not wait for
    from monai import transforms as t

    keys = ["image", "mask"] if masked else ["image"]
    # volumes have thick slices: out of their plane they turn less
    turn = (pi,) if axes == 2 else (pi / 6, pi / 12, pi / 12)
    how = {"mode": ["bilinear", "nearest"][: len(keys)], "padding_mode": ["border", "zeros"][: len(keys)]}
    blend = "bilinear" if axes == 2 else "trilinear"
    moved = t.RandAffined(keys, prob=0.2, rotate_range=turn, scale_range=[(-0.3, 0.4)] * axes, **how)
    return t.Compose(
        [
            moved,
            t.RandGaussianNoised("image", prob=0.1, std=0.3),
            t.RandGaussianSmoothd("image", (0.5, 1.0), (0.5, 1.0), (0.5, 1.0), prob=0.2),
            t.RandScaleIntensityd("image", 0.25, prob=0.15),
            t.RandScaleIntensityFixedMeand("image", factors=0.25, preserve_range=True, prob=0.15),
            t.RandSimulateLowResolutiond("image", prob=0.25, upsample_mode=blend, zoom_range=(0.5, 1.0)),
            t.RandAdjustContrastd("image", prob=0.1, gamma=(0.7, 1.5), invert_image=True, retain_stats=True),
            t.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            *(t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(axes)),
        ]
    )
