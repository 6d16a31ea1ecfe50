"""Chest radiographs of three classes: normal, pneumonia (patchy opacities) and effusion (fluid at the lung bases)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.phantoms import chest
from medcoss.phantoms.common import SPLITS, Array, Item, generator, smooth_noise, soft
from medcoss.phantoms.files import write_png, write_radiograph

CLASSES = ("normal", "pneumonia", "effusion")
COUNTS = {"train": 60, "validation": 15, "test": 15}


def _sides(view: chest.View, rng: np.random.Generator, both: float) -> list[NDArray[np.bool_]]:
    """The pixels of the affected lungs: one lung, or both with the probability `both`."""
    lungs = [view.x < 0, view.x > 0]
    return lungs if rng.random() < both else [lungs[int(rng.integers(2))]]


def _consolidation(view: chest.View, air: Array, rng: np.random.Generator) -> Array:
    """Share of the lung depth `air` that patches of pneumonia take away, 0 .. 1: clouds mottled by air that is left."""
    shape, cm = view.x.shape, view.per_cm
    cloud = smooth_noise(rng, shape, 1.3 * cm) + 0.5 * smooth_noise(rng, shape, 0.6 * cm)
    mottle = np.clip(0.88 + 0.18 * smooth_noise(rng, shape, 0.6 * cm), 0.2, 1)
    total = np.zeros_like(view.x)
    for side in _sides(view, rng, both=0.4):
        rows, columns = np.nonzero((air > 0.55 * air.max()) & side & (view.y > 4))
        first = int(rng.integers(len(rows)))
        x, y = float(view.x[rows[first], columns[first]]), float(view.y[rows[first], columns[first]])
        for number in range(int(rng.integers(4, 7))):
            shift = rng.normal(0, 2.6, 2) if number else np.zeros(2)
            a, b = rng.uniform(2.8, 4.6), rng.uniform(2.6, 4.2)
            away = np.sqrt(((view.x - x - shift[0]) / a) ** 2 + ((view.y - y - shift[1]) / b) ** 2)
            total = np.maximum(total, np.clip(1.35 - away - 0.22 * cloud, 0, 0.85) * side)
    return (rng.uniform(0.9, 1.15) * ndimage.gaussian_filter(total, 0.2 * cm) * mottle).astype(np.float32)


def _fluid(view: chest.View, build: chest.Build, mask: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """Share of the lung depth that pleural fluid takes away, 0 .. 1: a level that climbs along the lateral wall."""
    total = np.zeros_like(view.x)
    from_wall = np.clip(chest.lateral_border(view.y, build) - np.abs(view.x), 0, None)
    for side in _sides(view, rng, both=0.5):
        lowest = float(view.y[mask & side].max())
        height, medial = rng.uniform(7.5, 16.0), rng.uniform(0.6, 0.8)
        level = lowest - height * (medial + (1 - medial) * np.exp(-from_wall / rng.uniform(1.6, 3.0)))
        level = level + 0.15 * smooth_noise(rng, view.x.shape, 3 * view.per_cm)
        total += 0.95 * soft(level - view.y, rng.uniform(0.4, 1.2)) * side
    return total.astype(np.float32)


def attenuation(label: str, rng: np.random.Generator) -> tuple[Array, chest.View]:
    """A chest of the class `label` in cm of soft tissue behind each pixel (H, W), and its detector."""
    build, view = chest.Build.draw(rng), chest.View.draw(rng)
    mask, depth = chest.lungs(view, build)
    vessels = chest.lung_vessels(view, build, rng)
    air = depth * (1 - chest.mediastinum(view, build)) * (1 - 0.22 * vessels)
    if label == "pneumonia":
        air = air * (1 - _consolidation(view, air, rng))
    elif label == "effusion":
        air = air * (1 - _fluid(view, build, mask, rng))
    trunk = chest.body(view, build)
    inside = soft(-trunk + 1.0, 2.0)
    total = trunk - air - chest.airways(view, build) * inside
    # scatter veils bone where the beam is weak: behind the heart and below the diaphragm
    seen = 0.4 + 0.6 * np.clip(air / 6, 0, 1)
    total += (chest.bones(view, build, rng) * seen + chest.haze(view, build, rng)) * inside
    return np.maximum(total, 0), view


def exposed(thickness: Array, rng: np.random.Generator) -> Array:
    """The film as displayed, 0 .. 1, dense is white: scatter, window, film curve and noise.

    Window and curve vary from film to film by more than disease changes the mean brightness.
    """
    low, high = np.percentile(thickness, (rng.uniform(0.5, 2), rng.uniform(98, 99.7)))
    scatter = ndimage.gaussian_filter(thickness, thickness.shape[0] / 9)
    shown = np.clip((0.88 * thickness + 0.12 * scatter - low) / max(high - low, 1e-3), 0.004, 1)
    shown = shown ** rng.uniform(1.15, 1.65) * rng.uniform(0.9, 1.0)
    grain = ndimage.gaussian_filter(rng.standard_normal(shown.shape, dtype=np.float32), 0.5)
    return np.clip(shown + rng.uniform(0.01, 0.024) * grain, 0, 1).astype(np.float32)


def radiograph(label: str, rng: np.random.Generator) -> tuple[Array, float]:
    """One radiograph of the class `label` as displayed: values 0 .. 1 (H, W), and its pixel size in mm."""
    thickness, view = attenuation(label, rng)
    return exposed(thickness, rng), 10 / view.per_cm


def items(seed: int) -> list[Item]:
    """All radiographs: PNG files, and one DICOM file for each class in test (one of them MONOCHROME1)."""

    def png(path: str, label: str) -> Item:
        def write(root: Path) -> None:
            image, _ = radiograph(label, generator(seed, path))
            write_png(root / path, np.rint(image * 255).astype(np.uint8))

        return Item(path, write)

    def dicom(path: str, label: str, inverted: bool) -> Item:
        def write(root: Path) -> None:
            image, pixel_mm = radiograph(label, generator(seed, path))
            stored = np.rint(image * 4095).astype(np.uint16)
            write_radiograph(root / path, stored, inverted=inverted, pixel_mm=pixel_mm, study=f"{seed}-{label}")

        return Item(path, write)

    found = []
    for split in SPLITS:
        for label in CLASSES:
            folder = f"xray/{split}/{label}"
            found += [png(f"{folder}/case_{number:04d}.png", label) for number in range(1, COUNTS[split] + 1)]
            if split == "test":
                found.append(dicom(f"{folder}/case_{COUNTS[split] + 1:04d}.dcm", label, inverted=label == "effusion"))
    return found
