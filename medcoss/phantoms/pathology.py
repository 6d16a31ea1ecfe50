"""Histology tiles as if stained with haematoxylin and eosin: tumour, stroma and normal glands, 0.5 um a pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.phantoms.common import SPLITS, Array, Item, generator, smooth_noise, soft
from medcoss.phantoms.files import write_png
from medcoss.phantoms.stain import coloured

CLASSES = ("tumour", "stroma", "normal")
COUNTS = {"train": 40, "validation": 10, "test": 10}
SIZE = 224


@dataclass(frozen=True)
class Nucleus:
    """One nucleus: place, half-axes and turn (pixels, radians), irregularity 0 .. 0.3, and amount of stain."""

    x: float
    y: float
    long: float
    short: float
    turn: float
    ragged: float
    stain: float


class Tissue:
    """Amounts of haematoxylin and eosin of one tile, both (SIZE, SIZE)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.y, self.x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
        self.haematoxylin: Array = np.full((SIZE, SIZE), 0.02, np.float32)
        self.eosin: Array = np.full((SIZE, SIZE), 0.02, np.float32)
        self.chromatin = smooth_noise(rng, (SIZE, SIZE), 2.2)
        self.fine = smooth_noise(rng, (SIZE, SIZE), 1.5)

    def fill(self, share: Array, haematoxylin: Array | float, eosin: Array | float) -> None:
        """Blend an area into the tile; `share` (SIZE, SIZE) is its coverage."""
        self.haematoxylin += share * (haematoxylin - self.haematoxylin)
        self.eosin += share * (eosin - self.eosin)

    def add(self, nucleus: Nucleus) -> None:
        """Put a nucleus with a membrane, chromatin clumps and sometimes a nucleolus on the tile."""
        rng, reach = self.rng, int(nucleus.long * 1.4) + 2
        top, left = max(int(nucleus.y) - reach, 0), max(int(nucleus.x) - reach, 0)
        window = (slice(top, int(nucleus.y) + reach + 1), slice(left, int(nucleus.x) + reach + 1))
        dx, dy = self.x[window] - nucleus.x, self.y[window] - nucleus.y
        if dx.size == 0:
            return
        c, s = np.cos(nucleus.turn), np.sin(nucleus.turn)
        u, v = (c * dx + s * dy) / nucleus.long, (c * dy - s * dx) / nucleus.short
        radius = np.hypot(u, v)
        if nucleus.ragged:
            angle = np.arctan2(v, u)
            waves = rng.normal(0, nucleus.ragged, 3) / (1, 1.4, 2)
            phases = rng.uniform(0, 2 * np.pi, 3)
            for n, (wave, phase) in enumerate(zip(waves, phases, strict=True), start=2):
                radius = radius * (1 + wave * np.cos(n * angle + phase))
        share = soft((radius - 1) * nucleus.short, 1.6)
        rim = 0.35 * np.exp(-(((radius - 0.88) / 0.14) ** 2))
        amount = nucleus.stain * (0.78 + rim + 0.2 * self.chromatin[window])
        self.haematoxylin[window] += share * (np.maximum(amount, 0.15) - self.haematoxylin[window])
        self.eosin[window] += share * (0.22 - self.eosin[window])


def _fibres(tissue: Tissue, waviness: float) -> tuple[Array, Array]:
    """Collagen: fibre texture (0 .. 1) and its local direction in radians."""
    rng = tissue.rng
    base = rng.uniform(0, np.pi)
    bend = waviness * smooth_noise(rng, (SIZE, SIZE), 70)
    c, s = np.cos(base), np.sin(base)
    along, across = c * tissue.x + s * tissue.y, c * tissue.y - s * tissue.x
    across = across + 22 * bend + 2.5 * np.sin(along / rng.uniform(9, 14) + bend * 2)
    size = 3 * SIZE
    places = [across + size / 2, along + size / 2]
    layers = np.zeros((SIZE, SIZE), np.float32)
    for thickness, length, weight in ((3.0, 60, 0.6), (7.0, 110, 0.8), (16.0, 150, 0.6)):
        noise = smooth_noise(rng, (size, size), (thickness, length))
        layers += weight * ndimage.map_coordinates(noise, places, order=1, mode="reflect")
    slope_y, slope_x = np.gradient(across)
    direction = np.arctan2(slope_x, -slope_y)
    return (1 / (1 + np.exp(-1.6 * layers))).astype(np.float32), direction.astype(np.float32)


def _scatter(rng: np.random.Generator, allowed: NDArray[np.bool_], spacing: float, limit: int) -> list[tuple[int, int]]:
    """Random places (y, x) in `allowed`, at least `spacing` pixels apart."""
    free = allowed.copy()
    order = rng.permutation(np.flatnonzero(free))
    reach = int(np.ceil(spacing))
    offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.hypot(offsets[0], offsets[1]) < spacing
    padded = np.pad(free, reach)
    found: list[tuple[int, int]] = []
    for flat in order:
        y, x = divmod(int(flat), free.shape[1])
        if padded[y + reach, x + reach]:
            found.append((y, x))
            padded[y : y + 2 * reach + 1, x : x + 2 * reach + 1] &= ~disc
            if len(found) >= limit:
                break
    return found


def _ground(tissue: Tissue, density: float, cells: int) -> None:
    """Loose or dense collagen with spindle cells along the fibres."""
    rng = tissue.rng
    fibres, direction = _fibres(tissue, rng.uniform(0.5, 1.1))
    gaps = np.clip(1.6 * (fibres - 0.25), 0, 1)
    tissue.fill(np.ones_like(fibres), 0.05 + 0.04 * fibres, density * (0.42 + 0.58 * gaps) + 0.03 * tissue.fine)
    for y, x in _scatter(rng, np.ones((SIZE, SIZE), bool), 15, cells):
        long = rng.uniform(7, 12)
        turn = float(direction[y, x]) + rng.normal(0, 0.12)
        tissue.add(Nucleus(x, y, long, rng.uniform(1.7, 3.0), turn, 0.05, rng.uniform(0.7, 1.15)))


def _stroma(tissue: Tissue) -> None:
    rng = tissue.rng
    _ground(tissue, rng.uniform(0.5, 0.85), int(rng.integers(25, 60)))
    if rng.random() < 0.5:
        x, y, r = rng.uniform(40, 184), rng.uniform(40, 184), rng.uniform(10, 20)
        away = np.hypot((tissue.x - x) / rng.uniform(1, 1.6), tissue.y - y) - r
        tissue.fill(soft(away - 4, 2), 0.15, 0.7)
        tissue.fill(soft(away, 2), 0.02, 0.05)
        for angle in np.linspace(0, 2 * np.pi, 6)[:-1] + rng.uniform(0, 1):
            place = x + (r + 3) * np.cos(angle), y + (r + 3) * np.sin(angle)
            tissue.add(Nucleus(*place, 6.5, 2.4, angle + np.pi / 2, 0.05, 1.0))
    for _ in range(int(rng.integers(0, 12))):
        tissue.add(Nucleus(rng.uniform(0, SIZE), rng.uniform(0, SIZE), 4.0, 3.7, 0, 0.03, 1.35))


def _tumour(tissue: Tissue) -> None:
    rng = tissue.rng
    _ground(tissue, rng.uniform(0.4, 0.7), 20)
    field = smooth_noise(rng, (SIZE, SIZE), 60) + rng.uniform(0.7, 1.6)
    nest = soft(-field * 18, 8)
    cytoplasm = 0.34 + 0.08 * smooth_noise(rng, (SIZE, SIZE), 9) + 0.04 * tissue.fine
    tissue.fill(nest, 0.2 + 0.05 * tissue.fine, cytoplasm)
    spacing, size = rng.uniform(10.5, 14), rng.uniform(6.0, 8.0)
    places = _scatter(rng, nest > 0.6, spacing, 400)
    for y, x in places:
        long = size * rng.lognormal(0, 0.24)
        short = long * rng.uniform(0.55, 0.95)
        stain = rng.uniform(0.65, 1.35)
        tissue.add(Nucleus(x, y, long, short, rng.uniform(0, np.pi), rng.uniform(0.05, 0.16), stain))
        if rng.random() < 0.35:
            tissue.add(Nucleus(x + rng.normal(0, 1.5), y + rng.normal(0, 1.5), 1.6, 1.5, 0, 0, stain + 0.9))
    if rng.random() < 0.35:
        x, y, r = rng.uniform(30, 194), rng.uniform(30, 194), rng.uniform(14, 30)
        hole = soft(np.hypot(tissue.x - x, tissue.y - y) - r + 6 * smooth_noise(rng, (SIZE, SIZE), 14), 6)
        tissue.fill(hole, 0.1 + 0.2 * np.clip(tissue.chromatin - 0.8, 0, 1), 0.5 + 0.1 * tissue.fine)


def _gland(tissue: Tissue, x: float, y: float, radius: float) -> None:
    """One gland: a lumen, a ring of columnar cells with mucin, and round nuclei in a row at their base."""
    rng = tissue.rng
    stretch, turn = rng.uniform(1.0, 1.45), rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    dx, dy = tissue.x - x, tissue.y - y
    u, v = (c * dx + s * dy) / stretch, c * dy - s * dx
    wobble = 1 + 0.06 * np.cos(3 * np.arctan2(v, u) + rng.uniform(0, 6))
    away = np.hypot(u, v) / wobble - radius
    height = min(rng.uniform(17, 22), radius * 0.7)
    tissue.fill(soft(away - 2.5, 2), 0.06, 0.6)
    columns = 0.05 * np.cos(np.arctan2(v, u) * 2 * np.pi * radius / 9)
    tissue.fill(soft(away, 1.6), 0.1 + 0.03 * tissue.fine, 0.36 + columns + 0.04 * tissue.fine)
    mucin = soft(np.abs(away + height * 0.66) - height * 0.2, 5)
    tissue.fill(0.6 * mucin, 0.1, 0.1)
    tissue.fill(soft(away + height, 2), 0.015, 0.03)
    count = int(2 * np.pi * radius * (1 + stretch) / 2 / 10.5)
    for angle in np.arange(count) * 2 * np.pi / count + rng.uniform(0, 1):
        r = (radius - 6.0 + rng.normal(0, 0.6)) * (1 + 0.06 * np.cos(3 * angle))
        px, py = r * stretch * np.cos(angle), r * np.sin(angle)
        nx, ny = x + c * px - s * py, y + s * px + c * py
        tissue.add(Nucleus(nx, ny, 5.0, 4.0, turn + angle, 0.03, rng.uniform(0.75, 0.95)))


def _normal(tissue: Tissue) -> None:
    rng = tissue.rng
    _ground(tissue, rng.uniform(0.4, 0.65), 40)
    size = rng.uniform(30, 42)
    places = _scatter(rng, np.ones((SIZE, SIZE), bool), size * 2.15, 12)
    for y, x in places:
        _gland(tissue, x, y, size * rng.uniform(0.8, 1.0))


def tile(label: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One tile (224, 224, 3) of the class `label`."""
    tissue = Tissue(rng)
    {"tumour": _tumour, "stroma": _stroma, "normal": _normal}[label](tissue)
    blur, fade = rng.uniform(0.5, 0.8), 1 + 0.06 * smooth_noise(rng, (SIZE, SIZE), 120)
    haematoxylin = ndimage.gaussian_filter(tissue.haematoxylin, blur) * rng.uniform(0.75, 1.35) * fade
    eosin = ndimage.gaussian_filter(tissue.eosin, blur) * rng.uniform(0.7, 1.4) * fade
    return coloured(haematoxylin, eosin, rng)


def items(seed: int) -> list[Item]:
    """All tiles."""

    def item(path: str, label: str) -> Item:
        return Item(path, lambda root: write_png(root / path, tile(label, generator(seed, path))))

    return [
        item(f"pathology/{split}/{label}/tile_{number:04d}.png", label)
        for split in SPLITS
        for label in CLASSES
        for number in range(1, COUNTS[split] + 1)
    ]
