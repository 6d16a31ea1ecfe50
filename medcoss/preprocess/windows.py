"""Weights of sliding-window inference."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def gaussian_weights(size: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights of a window's pixels or voxels, 1 in its middle, as in nnU-Net (Isensee et al., 2021).

    The standard deviation is a quarter of the window (H, W) of an image, an eighth of the window (D, H, W) of
    a volume. No weight is 0.
    """
    share = 4 if len(size) == 2 else 8
    weights = np.zeros(size)
    weights[tuple(n // 2 for n in size)] = 1
    weights = gaussian_filter(weights, [n / share for n in size], mode="constant")
    weights /= weights.max()
    # far corners of small windows lie beyond the filter's reach
    return np.maximum(weights, weights[weights > 0].min()).astype(np.float32)
