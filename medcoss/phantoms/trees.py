"""Branching vessels in space."""

import numpy as np

from medcoss.phantoms.canvas import Tube


def vessel_tree(rng: np.random.Generator, root: tuple[float, float, float], direction: tuple[float, float, float],
                length: float, radius: float, smallest: float) -> list[Tube]:  # fmt: skip
    """Tubes from `root` along `direction`, forking in two until they are thinner than `smallest` (all in mm)."""
    if radius < smallest:
        return []
    heading = np.array(direction) / np.linalg.norm(direction)
    end = np.array(root) + length * heading
    tip = (float(end[0]), float(end[1]), float(end[2]))
    tubes = [Tube(root, tip, radius, radius * 0.8)]
    aside = np.cross(heading, rng.normal(size=3))
    aside /= max(float(np.linalg.norm(aside)), 1e-6)
    for sign in (-1, 1):
        turned = heading + sign * rng.uniform(0.3, 0.65) * aside
        onward = (float(turned[0]), float(turned[1]), float(turned[2]))
        tubes += vessel_tree(rng, tip, onward, length * rng.uniform(0.7, 0.9), radius * 0.72, smallest)
    return tubes
