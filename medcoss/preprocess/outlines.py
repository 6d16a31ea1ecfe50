"""Outlines of masks as polygons: of images in pixels, of volumes slice by slice in mm in the patient."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.measure import find_contours

from medcoss.preprocess.volumes import Geometry


@dataclass(frozen=True)
class Polygon:
    """A closed line of points, the last of which is not the first one again; a `hole` is cut out of another one.

    `points` are (x, y) in pixels, (0, 0) in the middle of the first pixel, or (x, y, z) in mm, LPS.
    """

    points: NDArray[np.float64]
    hole: bool


def image_outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """The outlines of a mask (rows, columns), halfway between what belongs to it and what does not."""
    # with a margin, what reaches the edge is closed, too
    found = find_contours(np.pad(mask, 1).astype(np.float32), 0.5, fully_connected="high")
    polygons = []
    for line in found:
        points = line[:-1, ::-1] - 1
        x, y = points.T
        # the lines go round so that what is lower lies to one side
        area = np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
        polygons.append(Polygon(points[_corners(points)], bool(area < 0)))
    return polygons


def _corners(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The points of a closed line at which it changes its direction."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]


def volume_outlines(mask: NDArray[np.bool_], of: Geometry) -> Iterator[tuple[int, list[Polygon]]]:
    """The slices of a mask (k, j, i) in which there is something, and its outlines there, in mm."""
    # from voxels (i, j, k) to mm
    axes = np.reshape(of.direction, (3, 3)) * of.spacing
    for number in np.flatnonzero(mask.any(axis=(1, 2))).tolist():
        flat = image_outlines(mask[number])
        places = (np.column_stack([one.points, np.full(len(one.points), number)]) for one in flat)
        yield (
            number,
            [Polygon(np.array(of.origin) + place @ axes.T, one.hole) for place, one in zip(places, flat, strict=True)],
        )
