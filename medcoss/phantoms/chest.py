"""A frontal chest as an X-ray beam sees it: how many cm of soft tissue lie behind each detector pixel.

Coordinates are cm: x to the image's right (the patient's left), 0 at the spine; y down, 0 at
the lung apices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from medcoss.phantoms.common import Array, smooth_curve, smooth_noise, soft

_SUPERSAMPLING = 2


@dataclass(frozen=True)
class Build:
    """The build of one patient, in cm."""

    half_width: float
    dome_y: tuple[float, float]
    wall: float
    thickness: float
    heart: float
    shift: float
    breast: float
    bone: float

    @staticmethod
    def draw(rng: np.random.Generator) -> "Build":
        """A random build."""
        height = rng.uniform(18.5, 20.8)
        return Build(
            half_width=rng.uniform(12.6, 14.2),
            dome_y=(height + rng.uniform(-0.6, 0.6), height + rng.uniform(0.4, 2.0)),
            wall=rng.uniform(1.8, 4.2),
            thickness=rng.uniform(18, 23),
            heart=rng.uniform(0.88, 1.14),
            shift=rng.uniform(-0.6, 0.6),
            breast=float(rng.uniform(0.8, 2.4) * (rng.random() < 0.5)),
            bone=rng.uniform(0.75, 1.25),
        )


@dataclass(frozen=True)
class View:
    """The detector: x and y (cm) of each pixel, both (H, W), and its pixels per cm."""

    x: Array
    y: Array
    per_cm: float

    @staticmethod
    def draw(rng: np.random.Generator) -> "View":
        """A random detector field of about 36 cm and 256 pixels a side."""
        width_cm, top, bottom = rng.uniform(34.0, 36.5), rng.uniform(-5.2, -3.8), rng.uniform(28.4, 30.2)
        per_cm = rng.uniform(235, 280) / width_cm
        rows, columns = round((bottom - top) * per_cm), round(width_cm * per_cm)
        left = -width_cm / 2 + rng.uniform(-0.8, 0.8)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
        tilt = np.radians(rng.normal(0, 1.2))
        x, y = x / per_cm + left, y / per_cm + top
        turned = x * np.cos(tilt) - (y - 12) * np.sin(tilt), x * np.sin(tilt) + (y - 12) * np.cos(tilt) + 12
        return View(turned[0].astype(np.float32), turned[1].astype(np.float32), float(per_cm))


class Film:
    """A layer on which curves given in cm are drawn."""

    def __init__(self, view: View) -> None:
        rows, columns = view.x.shape
        self._view, self._size = view, (columns, rows)
        self._image = Image.new("L", (columns * _SUPERSAMPLING, rows * _SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)
        step_x = (view.x[0, -1] - view.x[0, 0]) / (columns - 1), (view.y[0, -1] - view.y[0, 0]) / (columns - 1)
        step_y = (view.x[-1, 0] - view.x[0, 0]) / (rows - 1), (view.y[-1, 0] - view.y[0, 0]) / (rows - 1)
        self._inverse = np.linalg.inv(np.array([step_x, step_y], dtype=np.float64).T)
        self._corner = np.array([view.x[0, 0], view.y[0, 0]], dtype=np.float64)

    def _pixels(self, points: NDArray[np.float64]) -> list[tuple[float, float]]:
        found = (points - self._corner) @ self._inverse.T * _SUPERSAMPLING
        return [(float(px), float(py)) for px, py in found]

    def line(self, points: NDArray[np.float64], width: float, value: int) -> None:
        """Draw a curve `width` cm wide; `value` is 0 .. 255."""
        pixels = width * self._view.per_cm * _SUPERSAMPLING
        if pixels < 6:
            self._draw.line(self._pixels(points), fill=value, width=max(round(pixels), 1))
            return
        path = smooth_curve(points, rounds=2)
        slope = np.gradient(path, axis=0)
        across = slope[:, ::-1] * (-0.5, 0.5) * width / np.linalg.norm(slope, axis=1, keepdims=True)
        self._draw.polygon(self._pixels(np.concatenate([path + across, (path - across)[::-1]])), fill=value)

    def polygon(self, points: NDArray[np.float64], value: int) -> None:
        """Fill the outline."""
        closed = np.concatenate([points, points[:1]])
        self._draw.polygon(self._pixels(smooth_curve(closed)), fill=value)

    def layer(self, blur_cm: float) -> Array:
        """What was drawn, 0 .. 1, with soft edges."""
        small = self._image.resize(self._size, Image.Resampling.BOX)
        return ndimage.gaussian_filter(np.asarray(small, np.float32) / 255, blur_cm * self._view.per_cm)


def lateral_border(y: Array, build: Build) -> Array:
    """Distance of the lateral lung border from the middle at the height `y`."""
    base = max(build.dome_y) + 5.5
    t = np.clip(y / base, 0, 1)
    return (build.half_width * np.sqrt(np.clip(1 - (1 - t) ** 2.6, 0, 1))).astype(np.float32)


def diaphragm(x: Array, build: Build) -> Array:
    """Height of the diaphragm at `x`; the costophrenic angles are its lowest points."""
    out = np.abs(x) * 13.5 / build.half_width
    dome = np.where(x < 0, build.dome_y[0], build.dome_y[1])
    return (dome + 0.045 * (out - 6) ** 2 + 0.0014 * np.maximum(out - 6, 0) ** 4).astype(np.float32)


def lungs(view: View, build: Build) -> tuple[NDArray[np.bool_], Array]:
    """Where a lung lies behind the pixel, and the depth of air it holds in cm of tissue that is missing."""
    side = np.abs(view.x - build.shift * 0.2)
    medial = 2.0 + 0.5 * np.exp(-(((view.y - 3) / 4) ** 2))
    mask = (side < lateral_border(view.y, build)) & (side > medial) & (view.y < diaphragm(view.x, build))
    inward = ndimage.distance_transform_edt(mask).astype(np.float32) / view.per_cm
    depth = 0.62 * build.thickness * (0.25 + 0.75 * (1 - np.exp(-inward / 2.0))) * mask
    return mask, ndimage.gaussian_filter(depth, 0.12 * view.per_cm)


def _ellipse(view: View, x: float, y: float, a: float, b: float, turn: float = 0.0) -> Array:
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    u, v = (view.x - x) * c + (view.y - y) * s, (view.y - y) * c - (view.x - x) * s
    return np.sqrt(np.clip(1 - (u / a) ** 2 - (v / b) ** 2, 0, None)).astype(np.float32)


def body(view: View, build: Build) -> Array:
    """Thickness of the trunk, neck and shoulders without their contents."""
    knots_y = [-9, -4, -2.2, -0.5, 1.5, 4.5, 7.5, 12, 34]
    chest = build.half_width + build.wall
    knots_x = [5.4, 5.8, 8.0, 13.5, 18.0, chest + 4.0, chest + 1.2, chest + 0.3, chest - 0.2]
    outline = np.interp(view.y, knots_y, knots_x)
    flat = np.interp(view.y, [-9, -3, 3, 22, 30], [0.55, 0.6, 0.85, 1.0, 1.12])
    ratio = np.clip(np.abs(view.x) / outline, 0, 1)
    return (build.thickness * flat * np.sqrt(1 - ratio**2.6)).astype(np.float32)


def mediastinum(view: View, build: Build) -> Array:
    """Share of the lung depth that heart, great vessels and hila take away, 0 .. 1."""
    h, s, floor = build.heart, build.shift, build.dome_y[1]
    heart = _ellipse(view, 2.8 * h + s, floor - 3.4, 7.2 * h, 5.3 * h, 30)
    heart = heart + _ellipse(view, -0.6 + s, floor - 4.2, 4.4 * h, 5.8) + 0.7 * _ellipse(view, s, floor, 6.5 * h, 2.6)
    vessels = _ellipse(view, 1.9 + s, 7.6, 2.2, 2.1) + 0.9 * _ellipse(view, -1.2 + s, 8.5, 2.3, 5.5)
    trunk = 0.8 * _ellipse(view, 2.4 + s, 11.2, 2.4, 2.4)
    hila = 0.6 * _ellipse(view, -3.6 + s, 12.2, 1.7, 2.7, 12) + 0.6 * _ellipse(view, 4.0 + s, 11.2, 1.7, 2.5, -15)
    return np.clip(np.sqrt(1.2 * heart + vessels + trunk) + 0.8 * hila, 0, 1).astype(np.float32)


def _ribs(view: View, build: Build, rng: np.random.Generator) -> Array:
    outer, inner = Film(view), Film(view)
    gap, width = rng.uniform(2.15, 2.4), rng.uniform(0.85, 1.1)
    for number in range(1, 12):
        y0 = -1.2 + gap * number
        drop = 2.6 + 0.16 * number
        wall = float(lateral_border(np.float32(max(y0 + drop, 1.0)), build)) + 0.25
        s = np.linspace(0, 1, 8)
        back = np.stack([1.8 + (wall - 1.8) * s**0.85, y0 - 0.7 * np.sin(np.pi * s) + drop * s**2.4], axis=1)
        front = np.stack([wall - (wall - 5.2) * s**1.1, y0 + drop + (4.4 + 0.2 * number) * s**0.75], axis=1)
        for side in (-1.0, 1.0):
            flip = np.array([side, 1.0])
            outer.line(back * flip, width, 255)
            inner.line(back * flip, width * 0.5, 170)
            if number < 8:
                outer.line(front * flip, width * 1.05, 120)
                inner.line(front * flip, width * 0.55, 60)
    return np.clip(outer.layer(0.05) - 0.45 * inner.layer(0.08), 0, 1)


def _spine(view: View, rng: np.random.Generator) -> Array:
    height = rng.uniform(2.1, 2.4)
    phase = ((view.y + rng.uniform(0, 2)) / height) % 1
    grow = np.clip(view.y / 30, 0, 1)
    column = soft(np.abs(view.x) - (1.25 + 0.5 * grow), 0.35)
    disc = np.exp(-(((phase - 0.5) / 0.09) ** 2)).astype(np.float32)
    pedicles = np.exp(-((np.abs(view.x) - 0.85 - 0.35 * grow) ** 2) / 0.06 - ((phase - 0.9) / 0.13) ** 2)
    process = 0.5 * np.exp(-(view.x**2) / 0.05 - ((phase - 0.15) / 0.2) ** 2)
    return (column * (1 - 0.45 * disc) + (0.5 * pedicles + process) * column).astype(np.float32)


def bones(view: View, build: Build, rng: np.random.Generator) -> Array:
    """Extra attenuation of the skeleton, in cm of soft tissue."""
    film, blades = Film(view), Film(view)
    lift = rng.uniform(-0.6, 0.6)
    for side in (-1.0, 1.0):
        flip = np.array([side, 1.0])
        film.line(np.array([[1.6, 2.6], [4.5, 1.9], [8.5, 0.2 + lift], [12.5, -0.2 + lift], [16, 1 + lift]]) * flip,
                  1.15, 255)  # fmt: skip
        blades.polygon(np.array([[12.2, 3], [11.6, 8], [12.4, 13.2], [14.2, 12], [17, 5], [16, 2.5]]) * flip, 110)
    heads = _ellipse(view, -17.6, 3.0, 2.6, 2.8) + _ellipse(view, 17.6, 3.0, 2.6, 2.8)
    trunk = 1.6 * film.layer(0.08) + 0.9 * blades.layer(0.2) + 2 * heads
    return build.bone * (1.9 * _ribs(view, build, rng) + 1.9 * _spine(view, rng) + trunk)


def airways(view: View, build: Build) -> Array:
    """Air of trachea, main bronchi and stomach, in cm of missing tissue."""
    film = Film(view)
    s = build.shift
    film.line(np.array([[0.1 + s, -7.0], [0.0 + s, 3.0], [-0.3 + s, 8.4]]), 1.7, 255)
    film.line(np.array([[-0.3 + s, 8.2], [-1.8 + s, 9.9], [-2.8 + s, 10.8]]), 1.0, 130)
    film.line(np.array([[-0.3 + s, 8.2], [2.0 + s, 9.8], [3.4 + s, 10.6]]), 0.9, 130)
    bubble = _ellipse(view, 5.5, build.dome_y[1] + 2.6, 3.2, 1.5)
    return 2.0 * film.layer(0.25) + 4.0 * bubble


def lung_vessels(view: View, build: Build, rng: np.random.Generator) -> Array:
    """Branching pulmonary vessels, 0 .. 1."""
    film = Film(view)

    def branch(start: NDArray[np.float64], angle: float, length: float, width: float) -> None:
        if width < 0.14 or length < 0.7:
            return
        bend = rng.normal(0, 0.18)
        middle = start + 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
        end = middle + 0.5 * length * np.array([np.cos(angle + bend), np.sin(angle + bend)])
        film.line(np.stack([start, middle, end]), width, int(min(255, 90 + 330 * width)))
        for turn in (rng.uniform(0.15, 0.55), -rng.uniform(0.15, 0.55)):
            branch(end, angle + bend + turn, length * rng.uniform(0.68, 0.85), width * 0.72)

    for side, hilum in ((-1.0, (-3.6, 12.0)), (1.0, (4.0, 11.2))):
        for angle in np.radians([-75, -50, -22, 5, 28, 50, 72]):
            start = np.array([hilum[0] + build.shift, hilum[1]])
            direction = angle if side > 0 else np.pi - angle
            branch(start, direction + rng.normal(0, 0.1), rng.uniform(2.6, 3.6), rng.uniform(0.4, 0.6))
    return film.layer(0.06)


def haze(view: View, build: Build, rng: np.random.Generator) -> Array:
    """Soft tissue that every chest has in its own way: breasts, skin folds, lung texture; cm of soft tissue."""
    turn, down = rng.uniform(-10, 10), rng.uniform(17.5, 19.5)
    breasts = _ellipse(view, -7.2, down, 6.3, 5.6, turn) + _ellipse(view, 7.2, down, 6.3, 5.6, -turn)
    return build.breast * breasts + 0.35 * smooth_noise(rng, view.x.shape, 3 * view.per_cm)
