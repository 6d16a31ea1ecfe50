"""Haematoxylin and eosin on glass: amounts of the two stains become colours by their optical densities."""

import numpy as np
from numpy.typing import NDArray

from medcoss.phantoms.common import Array

# optical densities in red, green and blue for unit amounts (Ruifrok and Johnston 2001, normalised)
_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286], np.float32)
_EOSIN = np.array([0.092, 0.954, 0.283], np.float32)


def coloured(haematoxylin: Array, eosin: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of stain amounts (H, W), with the staining and the lamp of one laboratory on one day."""
    first = _HAEMATOXYLIN * (1 + rng.normal(0, 0.05, 3).astype(np.float32))
    second = _EOSIN * (1 + rng.normal(0, [0.5, 0.04, 0.12], 3).astype(np.float32))
    density = haematoxylin[..., None] * first + eosin[..., None] * np.maximum(second, 0)
    lamp = rng.uniform(0.93, 0.99) * (1 + rng.normal(0, 0.008, 3).astype(np.float32))
    light = np.clip(lamp * np.exp(-density), 0, 1)
    return np.rint(light * 255).astype(np.uint8)
