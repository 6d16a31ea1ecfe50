"""CT volumes of the upper abdomen in Hounsfield units, with label maps of the liver and its tumours."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from medcoss.phantoms.canvas import Canvas, Ellipsoid, Field, Grid, Point, Tube, common, union, without
from medcoss.phantoms.common import Array, Item, generator, smooth_noise
from medcoss.phantoms.files import write_nifti
from medcoss.phantoms.orientation import LAS, LPS, RAS
from medcoss.phantoms.trees import vessel_tree

COUNT = 10
LABELS = ("liver", "tumour")

_AIR, _LUNG, _FAT, _MUSCLE, _BLOOD, _BONE, _MARROW = -1000, -860, -102, 55, 115, 520, 190


@dataclass(frozen=True)
class _Patient:
    """Sizes in mm; the origin is the middle of the trunk at the height of the liver."""

    half_width: float
    half_depth: float
    fat: float
    dome: float
    liver: float

    @property
    def cavity(self) -> Ellipsoid:
        """The space inside the abdominal wall and the rib cage."""
        return Ellipsoid((0, 0, 0), (self.half_width - self.fat - 14, self.half_depth - self.fat - 14, 1200))


def _patient(rng: np.random.Generator) -> _Patient:
    return _Patient(
        half_width=rng.uniform(150, 172),
        half_depth=rng.uniform(106, 122),
        fat=rng.uniform(9, 24),
        dome=rng.uniform(62, 78),
        liver=rng.uniform(56, 72),
    )


def _grid(case: int, rng: np.random.Generator) -> Grid:
    in_plane, slices = rng.uniform(3.8, 4.1), rng.uniform(4.6, 5.0)
    size = (96, int(rng.choice([88, 92, 96])), int(rng.choice([46, 48, 50])))
    shift = tuple(float(v) for v in rng.uniform(-200, 200, 3))
    return Grid(size, (in_plane, in_plane, slices), (RAS, LPS, LAS)[case % 3], (shift[0], shift[1], shift[2]))


def _table(canvas: Canvas, patient: _Patient) -> None:
    """The patient table: a curved shell with a light core, below a mat."""
    top = patient.half_depth + 9

    def slab(low: float, high: float) -> Field:
        def distance(x: Array, y: Array, z: Array) -> Array:
            depth = y - top + (x / 190) ** 2 * 26
            return np.maximum(np.maximum(low - depth, depth - high), np.abs(x) - 172)

        return Field(distance)

    canvas.paint(slab(-9, 0), -930)
    canvas.paint(slab(0, 20), -150)
    canvas.paint(slab(4, 16), -960)


def _ribs(patient: _Patient) -> Field:
    a, b = patient.half_width - patient.fat - 9, patient.half_depth - patient.fat - 9

    def distance(x: Array, y: Array, z: Array) -> Array:
        angle = np.arctan2(np.abs(x) / a, y / b)
        ring = (np.sqrt((x / a) ** 2 + (y / b) ** 2) - 1) * b
        height = z + 55 * angle
        along = np.mod(height, 27.0) - 13.5
        costal_arch = np.maximum(angle - 2.4, (-30 - z) + 35 * np.maximum(angle - 1.2, 0))
        return np.maximum(np.sqrt(ring**2 + (0.75 * along) ** 2) - 5.2, 6 * costal_arch)

    return Field(distance)


def _wall(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Fat, muscles and ribs around the cavity, and the fat within it."""
    noise = smooth_noise(rng, canvas.values.shape, 2.5)
    canvas.paint(Ellipsoid((0, 0, 0), (patient.half_width + 1.5, patient.half_depth + 1.5, 1200)), 0)
    canvas.paint(Ellipsoid((0, 0, 0), (patient.half_width, patient.half_depth, 1200)), _FAT, texture=7 * noise)
    muscle = Ellipsoid((0, 0, 0), (patient.half_width - patient.fat, patient.half_depth - patient.fat, 1200))
    canvas.paint(muscle, _MUSCLE, texture=9 * noise)
    canvas.paint(patient.cavity, _FAT, texture=7 * noise)
    back = patient.half_depth - patient.fat - 17
    for side in (-1, 1):
        canvas.paint(Ellipsoid((side * 32, back, 0), (27, 19, 1200), side * 12), _MUSCLE, texture=12 * noise)
        psoas = Ellipsoid((side * 38, back - 38, -110), (17, 20, 95))
        canvas.paint(psoas, _MUSCLE, texture=9 * noise)
    ribs = _ribs(patient)
    canvas.paint(ribs, 420)
    canvas.paint(Field(lambda x, y, z: ribs.distance(x, y, z) + 3.4), 200)


def _spine(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    y = patient.half_depth - patient.fat - 52
    period, phase = rng.uniform(29, 33), rng.uniform(0, 30)
    body = Ellipsoid((0, y, 0), (21, 16, 1200))
    arches = Field(lambda x, y, z: np.abs(np.mod(z + phase + 10, period) - period / 2) - 7)
    for side in (-1, 1):
        canvas.paint(common(Ellipsoid((side * 24, y + 24, 0), (19, 6, 1200), side * 15), arches), 330)
    canvas.paint(common(Ellipsoid((0, y + 42, 0), (5, 16, 1200)), arches), 380)
    canvas.paint(Ellipsoid((0, y + 22, 0), (14, 12, 1200)), 360)
    canvas.paint(body, _BONE)
    canvas.paint(Ellipsoid((0, y, 0), (18, 13, 1200)), _MARROW, texture=35 * smooth_noise(rng, canvas.x.shape, 1.5))
    discs = Field(lambda x, y, z: np.abs(np.mod(z + phase, period) - period / 2) - 3.5)
    canvas.paint(common(body, discs), 85)
    canvas.paint(Ellipsoid((0, y + 22, 0), (10, 8.5, 1200)), 25)


def _diaphragm(patient: _Patient) -> Field:
    def distance(x: Array, y: Array, z: Array) -> Array:
        right = patient.dome - ((x + 65) ** 2 + (y + 2) ** 2) / 105
        left = patient.dome - 14 - ((x - 72) ** 2 + (y + 2) ** 2) / 105
        return 0.6 * (np.maximum(right, left) - z)

    return Field(distance)


def _chest(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Lungs above the diaphragm, with vessels, and the heart between them."""
    above = _diaphragm(patient)
    lung_volume = common(patient.cavity, above)
    canvas.paint(lung_volume, _LUNG, texture=25 * smooth_noise(rng, canvas.values.shape, 5))
    for side in (-1, 1):
        for turn in (-0.8, -0.1, 0.6):
            start, heading = (side * 36.0, 15.0, patient.dome + 60), (side * 1.0, turn, rng.uniform(-1.1, -0.3))
            for tube in vessel_tree(rng, start, heading, 30, 4.5, 1.3):
                canvas.paint(common(tube, lung_volume), 30)
    y = patient.half_depth - patient.fat - 52
    mediastinum = union(Ellipsoid((2, y - 12, 0), (30, 30, 1200)), Ellipsoid((10, -42, 110), (40, 50, 70)))
    canvas.paint(common(patient.cavity, above, mediastinum), -70)
    heart = Ellipsoid((24, -32, patient.dome + 34), (62, 44, 42), 30)
    canvas.paint(common(heart, patient.cavity), 60)
    for x, dy, a, b in ((42, -26, 26, 20), (-6, -38, 30, 18)):
        canvas.paint(Ellipsoid((x, dy, patient.dome + 38), (a, b, 28), 30), _BLOOD)


def _liver_shape(patient: _Patient, rng: np.random.Generator) -> Field:
    s = rng.uniform(0.92, 1.08)
    right = Ellipsoid((-62, -2, 2), (92 * s, 98 * s, 84 * s))
    left = Ellipsoid((16, -44, 26), (74 * s, 38 * s, 34 * s), 8)
    slope = rng.uniform(0.3, 0.5)
    lower = Field(lambda x, y, z: 0.8 * (z + 62 - slope * (x + 105) + 0.28 * (y + 10)))
    hilum = Ellipsoid((-22, 36, -30), (38, 42, 40))
    whole = without(union(right, left), lower, hilum, Ellipsoid((30, 66, 20), (44, 46, 90)))
    a, b, c = patient.cavity.radii
    inner = Ellipsoid((0, 0, 0), (a - 3, b - 3, c))
    below = Field(lambda x, y, z: -_diaphragm(patient).distance(x, y, z) + 2)
    bounded = common(whole, inner, below)
    return Field(bounded.function, (-40, -8, 8), 150)


def _tumours(canvas: Canvas, patient: _Patient, liver: Field, rng: np.random.Generator) -> None:
    """One to three lesions, darker than the liver, some with a bright rim or a necrotic core."""
    noise = smooth_noise(rng, canvas.values.shape, 1.8)
    inside = ndimage.binary_erosion(canvas.labels == 1, iterations=2)
    candidates = np.argwhere(inside & (canvas.x < 20))
    for _ in range(int(rng.integers(1, 4))):
        k, j, i = candidates[int(rng.integers(len(candidates)))]
        centre: Point = (float(canvas.x[k, j, i]), float(canvas.y[k, j, i]), float(canvas.z[k, j, i]))
        radius = rng.uniform(11, 25)
        radii = tuple(float(radius * f) for f in rng.uniform(0.8, 1.2, 3))
        lesion = Ellipsoid(centre, (radii[0], radii[1], radii[2]), rng.uniform(0, 90))
        kept = common(lesion, liver)
        contrast = rng.uniform(22, 40)
        if rng.random() < 0.4:
            rim = common(Ellipsoid(centre, tuple(r + 4 for r in radii)), liver)  # type: ignore[arg-type]
            canvas.paint(rim, patient.liver + 22, edge=7)
        canvas.paint(kept, patient.liver - contrast, texture=4 * noise, label=2, edge=6)
        if rng.random() < 0.5:
            core = Ellipsoid(centre, tuple(r * 0.5 for r in radii))  # type: ignore[arg-type]
            canvas.paint(common(core, liver), patient.liver - contrast - 14, edge=8)


def _liver(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    liver = _liver_shape(patient, rng)
    canvas.paint(liver, patient.liver, texture=4 * smooth_noise(rng, canvas.values.shape, 3), label=1)
    trunk: Point = (-26, 6, 2)
    tips: list[tuple[Point, Point]] = [
        ((-60, 4, 10), (-100, 16, 18)), ((-58, -20, 0), (-84, -52, -4)), ((-20, -30, 20), (10, -52, 30)),
        ((-62, 24, 26), (-94, 40, 34)),
    ]  # fmt: skip
    for middle, tip in tips:
        canvas.paint(common(Tube(trunk, middle, 6.5, 4.5), liver), _BLOOD)
        canvas.paint(common(Tube(middle, tip, 4.5, 2.0), liver), _BLOOD - 10)
    for tip in ((-95, -10, 40), (-45, -50, 48), (5, -40, 40)):
        canvas.paint(common(Tube((-22, 34, 52), tip, 5.0, 2.0), liver), _BLOOD - 5)
    _tumours(canvas, patient, liver, rng)


def _organs(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Spleen, stomach, kidneys, pancreas, gallbladder and bowel."""
    noise = smooth_noise(rng, canvas.values.shape, 3)
    below = Field(lambda x, y, z: -_diaphragm(patient).distance(x, y, z) + 2)
    room = common(patient.cavity, below)
    _bowel(canvas, patient, rng)
    stomach = Ellipsoid((62, -34, 14), (46, 34, 40), -25)
    level = rng.uniform(-48, -36)
    canvas.paint(common(stomach, room), 45)
    canvas.paint(common(Ellipsoid(stomach.centre, (42, 30, 36), -25), room), 18, texture=8 * noise)
    canvas.paint(common(Ellipsoid(stomach.centre, (42, 30, 36), -25), room, Field(lambda x, y, z: y - level)), -960)
    size = rng.uniform(0.9, 1.25)
    canvas.paint(common(Ellipsoid((104, 36, 14), (26 * size, 44 * size, 46 * size), -28), room), 88, texture=3 * noise)
    for side, drop in ((-1, -10), (1, 0)):
        centre = (side * 66.0, 46.0, -62.0 + drop)
        canvas.paint(Ellipsoid(centre, (30, 29, 54), side * 20), 128, texture=4 * noise)
        canvas.paint(Ellipsoid((centre[0] - side * 4, 44, centre[2]), (20, 18, 40), side * 20), 100)
        canvas.paint(Ellipsoid((centre[0] - side * 16, 40, centre[2]), (17, 9, 20), side * 30), _FAT)
    for a, b in pairwise(((-24, -6, -38), (10, -8, -24), (48, 14, -8), (84, 28, 4))):
        canvas.paint(Tube(a, b, 10), 72, texture=6 * noise)
    canvas.paint(Ellipsoid((-58, -42, -40), (15, 17, 27), 20), 50)
    canvas.paint(Ellipsoid((-58, -42, -40), (12, 14, 24), 20), 8)
    y = patient.half_depth - patient.fat - 52
    canvas.paint(Tube((12, y - 28, 150), (4, y - 27, -150), rng.uniform(10, 13)), _BLOOD + 15)
    canvas.paint(Tube((-24, y - 28, 70), (-20, y - 24, -150), rng.uniform(10, 13)), _BLOOD - 5)


def _bowel(canvas: Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Small-bowel loops in front, and the colon at both flanks, with gas and contents."""
    contents = 22 * smooth_noise(rng, canvas.values.shape, 2)
    for _ in range(16):
        centre = (rng.uniform(-70, 90), rng.uniform(-62, 0), rng.uniform(-135, -62))
        turn = rng.uniform(0, 2 * np.pi)
        half = rng.uniform(14, 26)
        a = (centre[0] - half * np.cos(turn), centre[1] - 0.5 * half * np.sin(turn), centre[2] - 8)
        b = (centre[0] + half * np.cos(turn), centre[1] + 0.5 * half * np.sin(turn), centre[2] + 8)
        canvas.paint(common(Tube(a, b, 14), patient.cavity), 60)
        canvas.paint(common(Tube(a, b, 11), patient.cavity), 25, texture=contents)
        if rng.random() < 0.35:
            gas = Field(lambda x, y, z, top=centre[1]: y - top + 3)  # type: ignore[misc]
            canvas.paint(common(Tube(a, b, 11), patient.cavity, gas), -900)
    for x, top in ((-104.0, -62.0), (106.0, -20.0)):
        tube = Tube((x, 6, top), (x, 14, -160), 21)
        canvas.paint(common(tube, patient.cavity), 48)
        canvas.paint(common(Tube(tube.start, tube.end, 18), patient.cavity), -120, texture=6 * contents)


def scan(case: int, rng: np.random.Generator) -> tuple[sitk.Image, sitk.Image]:
    """Volume (int16, HU) and label map (uint8; 1 = liver, 2 = tumour) number `case` on the same grid."""
    grid, patient = _grid(case, rng), _patient(rng)
    canvas = Canvas(grid, _AIR)
    _table(canvas, patient)
    canvas.bend(rng, 2.8, 70)
    _wall(canvas, patient, rng)
    _spine(canvas, patient, rng)
    _chest(canvas, patient, rng)
    _organs(canvas, patient, rng)
    _liver(canvas, patient, rng)
    noise = ndimage.gaussian_filter(rng.standard_normal(canvas.values.shape, dtype=np.float32), (0.3, 0.6, 0.6))
    values = canvas.values + rng.uniform(7, 12) / float(noise.std()) * noise
    return grid.image(np.rint(np.clip(values, -1024, 3071)).astype(np.int16)), grid.image(canvas.labels)


def items(seed: int) -> list[Item]:
    """All volumes, each with its label map `<case>_label.nii.gz`."""

    def item(case: int) -> Item:
        path = f"ct/case_{case:02d}.nii.gz"

        def write(root: Path) -> None:
            volume, label = scan(case, generator(seed, path))
            write_nifti(root / path, volume)
            write_nifti(root / path.replace(".nii.gz", "_label.nii.gz"), label)

        return Item(path, write)

    return [item(case) for case in range(1, COUNT + 1)]
