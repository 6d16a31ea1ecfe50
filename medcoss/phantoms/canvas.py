"""Painting volumes shape by shape: grids with orientation, ellipsoids and tubes in mm, soft edges, label maps.

Coordinates are millimetres in the patient system LPS (x to the left, y to the back, z to
the head) around the centre of the anatomy, whatever the orientation of the voxel grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from medcoss.phantoms.common import Array, smooth_noise, soft

Point = tuple[float, float, float]


class Shape(Protocol):
    """A body in space: a signed distance in mm (negative inside), and a sphere that holds it."""

    @property
    def centre(self) -> Point:
        """Centre of the sphere."""

    @property
    def reach(self) -> float:
        """Radius of the sphere, infinite for what has no end."""

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance of each point, exact near the surface only."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with half-axes `radii`, turned by `yaw` degrees about the long axis of the body and then by
    `pitch` degrees about the left-right axis.
    """

    centre: Point
    radii: Point
    yaw: float = 0.0
    pitch: float = 0.0

    @property
    def reach(self) -> float:
        """Radius of the sphere that holds it."""
        return max(self.radii)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance of each point."""
        px, py, pz = x - self.centre[0], y - self.centre[1], z - self.centre[2]
        if self.pitch:
            c, s = np.float32(np.cos(np.radians(self.pitch))), np.float32(np.sin(np.radians(self.pitch)))
            py, pz = c * py + s * pz, c * pz - s * py
        if self.yaw:
            c, s = np.float32(np.cos(np.radians(self.yaw))), np.float32(np.sin(np.radians(self.yaw)))
            px, py = c * px + s * py, c * py - s * px
        a, b, c = (np.float32(r) for r in self.radii)
        inside = np.sqrt((px / a) ** 2 + (py / b) ** 2 + (pz / c) ** 2)
        slope = np.sqrt((px / a**2) ** 2 + (py / b**2) ** 2 + (pz / c**2) ** 2)
        return np.where(slope > 0, inside * (inside - 1) / np.maximum(slope, 1e-9), -min(self.radii))


@dataclass(frozen=True)
class Tube:
    """A straight tube with round ends; its radius goes from `radius` at the start to `end_radius`."""

    start: Point
    end: Point
    radius: float
    end_radius: float | None = None

    @property
    def centre(self) -> Point:
        """Middle of the tube."""
        a, b = self.start, self.end
        return ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)

    @property
    def reach(self) -> float:
        """Radius of the sphere that holds it."""
        length = float(np.linalg.norm(np.subtract(self.end, self.start)))
        return length / 2 + max(self.radius, self.end_radius or 0)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance of each point."""
        axis = np.subtract(self.end, self.start).astype(np.float32)
        px, py, pz = x - self.start[0], y - self.start[1], z - self.start[2]
        along = np.clip((px * axis[0] + py * axis[1] + pz * axis[2]) / max(float(axis @ axis), 1e-6), 0, 1)
        away = np.sqrt((px - along * axis[0]) ** 2 + (py - along * axis[1]) ** 2 + (pz - along * axis[2]) ** 2)
        last = self.radius if self.end_radius is None else self.end_radius
        return away - (self.radius + along * (last - self.radius))


@dataclass(frozen=True)
class Field:
    """Any body given by its distance function; without end unless `centre` and `reach` say otherwise."""

    function: Callable[[Array, Array, Array], Array]
    centre: Point = (0.0, 0.0, 0.0)
    reach: float = np.inf

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance of each point."""
        return self.function(x, y, z)


def union(*shapes: Shape) -> Field:
    """What lies in any of the shapes."""
    return Field(lambda x, y, z: np.minimum.reduce([s.distance(x, y, z) for s in shapes]), *_holding(shapes))


def common(first: Shape, *others: Shape) -> Field:
    """What lies in all shapes; the first one bounds it."""
    shapes = (first, *others)
    return Field(lambda x, y, z: np.maximum.reduce([s.distance(x, y, z) for s in shapes]), first.centre, first.reach)


def without(first: Shape, *others: Shape) -> Field:
    """What lies in the first shape and in none of the others."""
    return common(first, *(Field(lambda x, y, z, s=s: -s.distance(x, y, z)) for s in others))  # type: ignore[misc]


def _holding(shapes: tuple[Shape, ...]) -> tuple[Point, float]:
    middle = np.mean([s.centre for s in shapes], axis=0)
    reach = max(float(np.linalg.norm(middle - s.centre)) + s.reach for s in shapes)
    return (float(middle[0]), float(middle[1]), float(middle[2])), reach


@dataclass(frozen=True)
class Grid:
    """A voxel grid around the centre of the anatomy: `size` and `spacing` (mm) along the grid's own axes
    (i, j, k), and `direction`, whose columns are these axes in LPS.
    """

    size: tuple[int, int, int]
    spacing: Point
    direction: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    origin_shift: Point = (0.0, 0.0, 0.0)

    @property
    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix and offset from (i, j, k) to LPS mm around the anatomy."""
        matrix = np.array(self.direction) * np.array(self.spacing)
        return matrix, -matrix @ ((np.array(self.size) - 1) / 2)

    def points(self) -> tuple[Array, Array, Array]:
        """LPS coordinates of all voxels, each (k, j, i)."""
        matrix, offset = self.affine
        i, j, k = (np.arange(n, dtype=np.float32) for n in self.size)
        index = (i[None, None, :], j[None, :, None], k[:, None, None])
        found = [sum(np.float32(matrix[row, axis]) * index[axis] for axis in range(3)) for row in range(3)]
        x, y, z = (np.asarray(f + np.float32(o), dtype=np.float32) for f, o in zip(found, offset, strict=True))
        return x, y, z

    def image(self, array: np.ndarray) -> sitk.Image:
        """An image (k, j, i) on this grid."""
        image = sitk.GetImageFromArray(array)
        _, offset = self.affine
        image.SetSpacing(self.spacing)
        image.SetDirection([value for row in self.direction for value in row])
        image.SetOrigin([float(v) for v in offset + np.array(self.origin_shift)])
        return image


class Canvas:
    """A volume (k, j, i) and its label map, painted shape by shape; later shapes cover earlier ones."""

    def __init__(self, grid: Grid, background: float) -> None:
        self.grid = grid
        self.x, self.y, self.z = grid.points()
        self.values: Array = np.full(self.x.shape, background, np.float32)
        self.labels = np.zeros(self.x.shape, np.uint8)
        self._edge = float(np.cbrt(np.prod(grid.spacing)))
        self._slack = 0.0

    def bend(self, rng: np.random.Generator, amplitude: float, scale: float) -> None:
        """Bend space for everything painted from now on: shifts of about `amplitude` mm that vary over `scale` mm."""
        steps = tuple(scale / s for s in reversed(self.grid.spacing))
        for axis in (self.x, self.y, self.z):
            axis += np.float32(amplitude) * smooth_noise(rng, axis.shape, steps)
        self._slack += 4 * amplitude

    def _window(self, shape: Shape) -> tuple[slice, slice, slice]:
        if not np.isfinite(shape.reach):
            return (slice(None), slice(None), slice(None))
        matrix, offset = self.grid.affine
        middle = np.linalg.solve(matrix, np.array(shape.centre) - offset)
        reach = (shape.reach + self._slack + 2 * self._edge) / np.array(self.grid.spacing)
        low = np.clip(np.floor(middle - reach), 0, self.grid.size).astype(int)
        high = np.clip(np.ceil(middle + reach) + 1, 0, self.grid.size).astype(int)
        i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return (k, j, i)

    def cover(self, shape: Shape, edge: float = 0.0) -> tuple[tuple[slice, slice, slice], Array]:
        """The part of the volume that can hold `shape`, and the share of each of its voxels inside it."""
        window = self._window(shape)
        distance = shape.distance(self.x[window], self.y[window], self.z[window])
        return window, soft(np.asarray(distance, np.float32), max(edge, self._edge))

    def paint(self, shape: Shape, value: float, *, texture: Array | None = None, label: int | None = None,
              edge: float = 0.0, opacity: float = 1.0) -> None:  # fmt: skip
        """Blend `shape` into the volume with partial volume at its edge.

        `texture` (k, j, i) is added to `value`; voxels at least half inside get `label`;
        `edge` is the width of the edge in mm when it is softer than a voxel.
        """
        window, share = self.cover(shape, edge)
        if share.size == 0:
            return
        inside = np.float32(value) if texture is None else np.float32(value) + texture[window]
        mixed = share * np.float32(opacity)
        self.values[window] = self.values[window] * (1 - mixed) + inside * mixed
        if label is not None:
            self.labels[window][share >= 0.5] = label
