"""Cardiac MR volumes with the blood pool of the left atrium as label map."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from medcoss.phantoms.canvas import Canvas, Ellipsoid, Field, Grid, Point, Tube, common, union, without
from medcoss.phantoms.common import Array, Item, generator, smooth_noise
from medcoss.phantoms.files import write_nifti
from medcoss.phantoms.orientation import LAS, LPS, RAS, tilted
from medcoss.phantoms.trees import vessel_tree

COUNT = 16
LABELS = ("left_atrium",)

# signal of tissues, arbitrary units: bright blood and fat, dark lungs, as in balanced steady-state sequences
_BLOOD, _FAT, _MYOCARDIUM, _MUSCLE, _LUNG, _MARROW, _LIVER, _FLUID, _CORTEX = 430, 380, 150, 120, 22, 210, 170, 470, 40


def _grid(case: int, rng: np.random.Generator) -> Grid:
    in_plane, slices = rng.uniform(2.4, 2.7), rng.uniform(3.0, 3.6)
    directions = (LPS, RAS, LAS, tilted(rng.uniform(6, 13), rng.uniform(-8, 8)))
    size = (int(rng.choice([96, 100, 104])), int(rng.choice([88, 92, 96])), int(rng.choice([36, 40, 44])))
    shift = tuple(float(v) for v in rng.uniform(-60, 60, 3))
    return Grid(size, (in_plane, in_plane, slices), directions[case % 4], (shift[0], shift[1], shift[2]))


def _trunk(canvas: Canvas, rng: np.random.Generator) -> None:
    """Skin, fat, muscle, lungs, spine and liver dome around the heart, whose centre is the origin."""
    width, depth, fat = rng.uniform(128, 146), rng.uniform(92, 104), rng.uniform(6, 16)
    chest = Ellipsoid((0, 12, 0), (width, depth, 900))
    wall = Ellipsoid((0, 12, 0), (width - fat, depth - fat, 900))
    cage = Ellipsoid((0, 8, 0), (width - fat - 15, depth - fat - 17, 900))
    marbling = 22 * smooth_noise(rng, canvas.values.shape, (3, 3, 3))
    canvas.paint(chest, _FAT, texture=marbling)
    canvas.paint(wall, _MUSCLE, texture=marbling)
    canvas.paint(_ribs(width - fat - 8, depth - fat - 9), 230)
    canvas.paint(cage, _LUNG, texture=4 * smooth_noise(rng, canvas.values.shape, 3))
    for side in (-1, 1):
        for tilt in (-1.1, -0.4, 0.2, 0.9):
            start, heading = (side * 30.0, 22.0, 22.0 + 12 * tilt), (side * 1.0, rng.uniform(-0.7, 0.7), tilt)
            for tube in vessel_tree(rng, start, heading, 24, 3.6, 1.2):
                canvas.paint(common(tube, cage), 260)
    dome = rng.uniform(-52, -44)
    liver = Field(lambda x, y, z: 0.85 * (z - dome + ((x + 62) ** 2 + (y - 5) ** 2) / 190))
    canvas.paint(common(cage, liver), _LIVER, texture=0.5 * marbling)
    mediastinum = union(
        Ellipsoid((2, 48, 0), (34, 34, 900)),
        Ellipsoid((0, -38, 20), (30, 34, 120)),
        Ellipsoid((4, 0, 40), (38, 44, 60)),
    )
    canvas.paint(common(cage, mediastinum), 300, texture=marbling)
    for tip in ((0.0, 40.0, 160.0), (-30.0, 30.0, 32.0), (32.0, 32.0, 34.0)):
        canvas.paint(Tube((-2, 36, 52), tip, 8 if tip[2] > 100 else 6), _LUNG)


def _ribs(half_width: float, half_depth: float) -> Field:
    def distance(x: Array, y: Array, z: Array) -> Array:
        angle = np.arctan2(np.abs(x) / half_width, (y - 12) / half_depth)
        ring = (np.sqrt((x / half_width) ** 2 + ((y - 12) / half_depth) ** 2) - 1) * half_depth
        along = np.mod(z + 24 * angle + 14, 28.0) - 14
        return np.sqrt(ring**2 + (0.8 * along) ** 2) - 5

    return Field(distance)


def _spine(canvas: Canvas, rng: np.random.Generator) -> None:
    period, phase, y = rng.uniform(23, 27), rng.uniform(0, 25), rng.uniform(66, 70)
    column = Ellipsoid((0, y, 0), (16.5, 14, 900))
    canvas.paint(column, _CORTEX)
    canvas.paint(Ellipsoid((0, y, 0), (14.5, 12, 900)), _MARROW, texture=18 * smooth_noise(rng, canvas.x.shape, 2))
    discs = Field(lambda x, y, z: np.abs(np.mod(z + phase, period) - period / 2) - 2.6)
    canvas.paint(common(column, discs), 95)
    canvas.paint(Ellipsoid((0, y + 20, 0), (9, 8, 900)), _FLUID)
    canvas.paint(Ellipsoid((0, y + 20, 0), (5, 4, 900)), 220)
    arches = Field(lambda x, y, z: np.abs(np.mod(z + phase + 8, period) - period / 2) - 5)
    canvas.paint(common(Tube((0, y + 28, 0), (0, y + 40, 0), 5), arches), _MARROW)
    for side in (-1, 1):
        canvas.paint(common(Ellipsoid((side * 24, y + 20, 0), (18, 5, 900)), arches), _MARROW)


def _heart(canvas: Canvas, rng: np.random.Generator, stain: Array) -> None:
    """Myocardium, chambers and great vessels; the left atrium with its veins is labelled."""
    s = rng.uniform(0.9, 1.1)

    def at(x: float, y: float, z: float) -> Point:
        return (s * x, s * y, s * z)

    def bulb(x: float, y: float, z: float, a: float, b: float, c: float, yaw: float = 0, pitch: float = 0) -> Ellipsoid:
        return Ellipsoid(at(x, y, z), (s * a, s * b, s * c), yaw, pitch)

    sac = union(bulb(12, -6, -12, 58, 46, 48, 32, 12), bulb(-6, 4, 14, 44, 42, 44))
    canvas.paint(sac, 330, texture=0.5 * stain)
    left, right = bulb(34, -2, -18, 46, 32, 33, 35, 12), bulb(-8, -24, -14, 40, 24, 36, 20)
    muscle = union(left, right, bulb(-34, 4, -4, 23, 27, 33))
    canvas.paint(muscle, _MYOCARDIUM, texture=0.6 * stain)
    canvas.paint(bulb(34, -1, -16, 34, 20, 21, 35, 12), _BLOOD, texture=stain)
    for x, y in ((44, -6), (36, 8)):
        canvas.paint(Tube(at(x, y, -22), at(x + 10, y - 2, -26), 3.6), _MYOCARDIUM)
    canvas.paint(bulb(-8, -26, -14, 35, 19, 31, 20), _BLOOD * 0.95, texture=stain)
    canvas.paint(without(bulb(-8, -26, -14, 35, 19, 31, 20), left), _BLOOD * 0.95)
    canvas.paint(bulb(-35, 5, -4, 20, 24, 30), _BLOOD * 0.97, texture=stain)
    _vessel(canvas, [at(-38, 12, 10), at(-34, 2, 45), at(-32, 0, 90)], 9 * s, _BLOOD)
    _vessel(canvas, [at(-36, 14, -24), at(-34, 20, -60), at(-32, 24, -90)], 11.5 * s, _BLOOD)
    _left_atrium(canvas, rng, s, stain)
    _vessel(canvas, [at(6, -8, 2), at(-4, -22, 30), at(-8, -22, 62), at(0, 0, 84), at(18, 36, 80)], 14 * s, _BLOOD)
    _vessel(canvas, [at(8, -42, 8), at(16, -36, 34), at(10, -6, 44), at(-24, 8, 42)], 11.5 * s, _BLOOD * 0.93)
    _vessel(canvas, [at(12, -10, 44), at(34, 22, 48)], 10 * s, _BLOOD * 0.93)
    _vessel(canvas, [(21, 50, 95), (22, 50, 40), (20, 52, -20), (16, 54, -100)], rng.uniform(10, 13), _BLOOD)
    canvas.paint(Tube((3, 47, -120), (2, 47, 120), 6), 170)


def _vessel(canvas: Canvas, points: list[Point], radius: float, value: float) -> None:
    """A vessel with a thin dark wall."""
    for wall, signal in ((1.8, _MYOCARDIUM), (0.0, value)):
        parts = [Tube(a, b, radius + wall) for a, b in pairwise(points)]
        canvas.paint(union(*parts), signal)


def _left_atrium(canvas: Canvas, rng: np.random.Generator, s: float, stain: Array) -> None:
    big = s * rng.uniform(0.92, 1.15)
    x, y, z = 0.0, s * 22.0, s * 12.0
    pool = [
        Ellipsoid((x, y, z), (29 * big, 17 * big, 21 * big), rng.uniform(-12, 6), rng.uniform(-10, 10)),
        Ellipsoid((x + 12, y - 4, z - 8), (18 * big, 15 * big, 15 * big)),
    ]
    veins = []
    for side in (-1, 1):
        for up in (-1, 1):
            start = (x + side * 20 * big, y + 4, z + up * 9 * big)
            bent = (x + side * 38 * big, y + 10 + rng.normal(0, 2), z + up * rng.uniform(11, 16) * big)
            far = (x + side * 78, y + 18 + rng.normal(0, 5), z + up * rng.uniform(22, 34))
            radius = rng.uniform(5.2, 6.8) * s
            veins.append(Tube(bent, far, radius * 0.9, radius * 0.35))
            pool.append(Tube(start, bent, radius * 1.15, radius))
    appendage = Tube((x + 20 * big, y - 8, z + 6), (x + 36 * big, y - 22, z + 10), 6.5 * s, 4.0 * s)
    walls = [Ellipsoid(p.centre, tuple(r + 2.2 for r in p.radii), p.yaw, p.pitch) for p in pool[:2]]  # type: ignore[union-attr,arg-type]
    canvas.paint(union(*walls), _MYOCARDIUM)
    canvas.paint(union(*veins), _BLOOD * 0.9, texture=stain)
    canvas.paint(union(*pool, appendage), _BLOOD * rng.uniform(0.97, 1.08), texture=stain, label=1)


def scan(case: int, rng: np.random.Generator) -> tuple[sitk.Image, sitk.Image]:
    """Volume (int16) and label map (uint8; 1 = left atrium) number `case` on the same grid."""
    grid = _grid(case, rng)
    canvas = Canvas(grid, 0.0)
    canvas.bend(rng, 2.2, 45)
    stain = 20 * smooth_noise(rng, canvas.values.shape, 4)
    _trunk(canvas, rng)
    _spine(canvas, rng)
    _heart(canvas, rng, stain)
    signal = ndimage.gaussian_filter(canvas.values, 0.45)
    coil = np.exp(rng.uniform(0.15, 0.32) * smooth_noise(rng, signal.shape, tuple(n / 1.4 for n in signal.shape)))
    noise = rng.uniform(9, 16)
    real = signal * coil + noise * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude = np.sqrt(real**2 + imaginary**2) * rng.uniform(0.7, 1.3)
    return grid.image(np.rint(magnitude).astype(np.int16)), grid.image(canvas.labels)


def items(seed: int) -> list[Item]:
    """All volumes, each with its label map `<case>_label.nii.gz`."""

    def item(case: int) -> Item:
        path = f"mr/case_{case:02d}.nii.gz"

        def write(root: Path) -> None:
            volume, label = scan(case, generator(seed, path))
            write_nifti(root / path, volume)
            write_nifti(root / path.replace(".nii.gz", "_label.nii.gz"), label)

        return Item(path, write)

    return [item(case) for case in range(1, COUNT + 1)]
