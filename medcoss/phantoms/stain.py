"""Haematoxylin and eosin on glass: amounts of the two stains become colours by their optical densities."""

import numpy as np
from numpy.typing import NDArray

from medcoss.phantoms.common import Array

# optical densities in red, green and blue for unit amounts (Ruifrok and Johnston 2001, normalised)
_HAEMATOXYLIN = np.array([0.650, 0.704, 0.286], np.float32)
_EOSIN = np.array([0.092, 0.954, 0.283], np.float32)


def coloured(haematoxylin: Array, eosin: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB (H, W, 3) of stain amounts (H, W), with the staining and the lamp of one laboratory on one day.

    The section is as thick as it has to be for a mean brightness that is drawn at random:
    brightness then tells nothing about the tissue.
    """
    first = _HAEMATOXYLIN * (1 + rng.normal(0, 0.05, 3).astype(np.float32))
    second = _EOSIN * (1 + rng.normal(0, [0.35, 0.04, 0.12], 3).astype(np.float32))
    density = haematoxylin[..., None] * first + eosin[..., None] * np.maximum(second, 0)
    lamp = rng.uniform(0.93, 0.99) * (1 + rng.normal(0, 0.008, 3).astype(np.float32))
    target, small, thin, thick = rng.uniform(0.58, 0.74), density[::4, ::4], 0.3, 3.0
    for _ in range(12):
        thickness = (thin + thick) / 2
        bright = float((lamp * np.exp(-thickness * small)).mean()) > target
        thin, thick = (thickness, thick) if bright else (thin, thickness)
    light = np.clip(lamp * np.exp(-thickness * density), 0, 1)
    return np.asarray(np.rint(light * 255), dtype=np.uint8)
