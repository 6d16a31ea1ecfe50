"""What all phantoms share: reproducible random numbers, smooth noise, soft edges, curves, and file lists."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Item:
    """One unit of work: `write(root)` writes the file `path` (and what belongs to it) below `root`."""

    path: str
    write: Callable[[Path], None]


def generator(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one file: they depend on the seed and its name only, not on what was made before."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], scale: float | tuple[float, ...]) -> Array:
    """Noise of mean 0 and standard deviation 1 that varies over about `scale` pixels (one number or one an axis)."""
    scales = (scale,) * len(shape) if isinstance(scale, int | float) else scale
    knots = [int(np.ceil((n - 1) / s)) + 4 for n, s in zip(shape, scales, strict=True)]
    noise: Array = rng.standard_normal(knots, dtype=np.float32)
    for axis, (n, s) in enumerate(zip(shape, scales, strict=True)):
        noise = _stretched(noise, axis, n, s)
    noise -= noise.mean()
    noise /= max(float(noise.std()), 1e-6)
    return noise


def _stretched(values: Array, axis: int, length: int, scale: float) -> Array:
    """Cubic B-spline of knots `scale` apart along one axis, at `length` places; elementwise, hence reproducible."""
    place = np.arange(length) / scale
    first = place.astype(np.intp)
    t = place - first
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    along = [1] * values.ndim
    along[axis] = length
    total = np.float32(0)
    for k, weight in enumerate(weights):
        total = total + weight.astype(np.float32).reshape(along) * values.take(first + k, axis)
    return np.asarray(total, dtype=np.float32)


def soft(distance: Array, width: float) -> Array:
    """Coverage 0 .. 1 of a shape from its signed distance (negative inside), over an edge `width` wide."""
    return np.clip(0.5 - distance / width, 0.0, 1.0).astype(np.float32)


def smooth_curve(points: NDArray[np.float64], rounds: int = 3) -> NDArray[np.float64]:
    """An open polyline (N, dimensions) with its corners cut `rounds` times (Chaikin); the ends stay."""
    for _ in range(rounds):
        near, far = points[:-1], points[1:]
        cut = np.stack([0.75 * near + 0.25 * far, 0.25 * near + 0.75 * far], axis=1).reshape(-1, points.shape[1])
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points
