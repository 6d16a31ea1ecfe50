"""Directions of voxel axes (columns: i, j, k) in the patient system LPS."""

import numpy as np

Direction = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

LPS: Direction = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
RAS: Direction = ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
LAS: Direction = ((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, 1.0))


def tilted(about_x: float, about_z: float) -> Direction:
    """LPS turned by two angles in degrees, as an oblique acquisition."""
    a, b = np.radians(about_x), np.radians(about_z)
    first = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    second = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    rows = [tuple(float(v) for v in row) for row in first @ second]
    return (rows[0], rows[1], rows[2])  # type: ignore[return-value]
