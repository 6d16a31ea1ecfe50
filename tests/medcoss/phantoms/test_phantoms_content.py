"""What the phantoms show: Hounsfield units, bright atria, signs of disease, stains, reports that say their class."""

import csv
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from medcoss.phantoms import ct, mr, pathology, reports, xray
from medcoss.phantoms.canvas import Canvas, Ellipsoid, Grid, Tube
from medcoss.phantoms.common import generator, smooth_noise
from medcoss.phantoms.orientation import LPS, RAS


def arrays(module: object, case: int) -> tuple[NDArray[np.float64], NDArray[np.uint8], tuple[float, ...]]:
    volume, label = module.scan(case, generator(7, f"content {case}"))  # type: ignore[attr-defined]
    values, labels = (sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")) for image in (volume, label))
    return values.astype(np.float64), labels, volume.GetSpacing()


@pytest.mark.parametrize("case", [1, 2])
def test_ct_values_are_hounsfield_units(case: int) -> None:
    values, labels, spacing = arrays(ct, case)
    assert values.min() >= -1024
    assert np.median(values[:, :6, :6]) < -950
    assert 40 < values[labels == 1].mean() < 80
    assert values[labels == 2].mean() < values[labels == 1].mean() - 15
    assert ((values > -130) & (values < -75)).mean() > 0.03
    assert np.percentile(values, 99.9) > 300
    body = ndimage.binary_fill_holes(ndimage.binary_opening(values[-6] > -300, iterations=2))
    assert ((values[-6] < -700) & ndimage.binary_erosion(body, iterations=3)).mean() > 0.05
    millilitres = float(np.prod(spacing)) / 1000
    assert 800 < (labels > 0).sum() * millilitres < 2500
    assert 3 < (labels == 2).sum() * millilitres < 400


def test_the_liver_lies_on_the_right_and_tumours_lie_in_the_liver() -> None:
    _, labels, _ = arrays(ct, 3)
    x = np.nonzero(labels)[2]
    assert x.mean() < labels.shape[2] / 2
    liver = ndimage.binary_dilation(labels == 1, iterations=2)
    assert liver[labels == 2].mean() > 0.5
    parts, count = ndimage.label(labels > 0)
    assert np.bincount(parts[parts > 0]).max() > 0.97 * (labels > 0).sum() and count >= 1


@pytest.mark.parametrize("case", [0, 3])
def test_the_left_atrium_is_bright_central_and_in_one_piece(case: int) -> None:
    values, labels, spacing = arrays(mr, case)
    assert values[labels == 1].mean() > 2 * np.median(values)
    assert 30 < (labels == 1).sum() * float(np.prod(spacing)) / 1000 < 130
    parts, _ = ndimage.label(labels)
    assert np.bincount(parts[parts > 0]).max() > 0.97 * labels.sum()
    for place, size in zip(ndimage.center_of_mass(labels), labels.shape, strict=True):
        assert 0.25 < place / size < 0.75
    corner = values[:, :6, :6]
    # the magnitude of Gaussian noise has this ratio (Rician without signal)
    assert corner.mean() / corner.std() == pytest.approx(1.91, abs=0.15)


def test_pneumonia_takes_air_from_the_lungs_and_effusion_from_a_costophrenic_angle() -> None:
    def air_left(label: str, case: int) -> tuple[float, float]:
        """Thickness in the lung fields as a share of the mean, and the cm of tissue in the denser angle."""
        thickness, view = xray.attenuation(label, generator(3, f"{label} {case}"))
        fields = (view.y > 4) & (view.y < 18) & (np.abs(view.x) > 5) & (np.abs(view.x) < 12)
        angles = (view.y > 20) & (view.y < 24) & (np.abs(view.x) > 10.5) & (np.abs(view.x) < 13)
        sides = [np.percentile(thickness[angles & side], 10) for side in (view.x < 0, view.x > 0)]
        return float(thickness[fields].mean() / thickness.mean()), float(max(sides))

    found = {label: np.median([air_left(label, case) for case in range(7)], axis=0) for label in xray.CLASSES}
    assert found["pneumonia"][0] > found["normal"][0] + 0.05
    assert found["effusion"][1] > found["normal"][1] + 1
    assert abs(found["pneumonia"][1] - found["normal"][1]) < 1


def test_brightness_of_radiographs_and_tiles_tells_nothing_about_the_class() -> None:
    bright = {
        label: [xray.radiograph(label, generator(5, f"{label} {n}"))[0].mean() for n in range(6)]
        for label in xray.CLASSES
    }
    tiles = {
        label: [pathology.tile(label, generator(5, f"{label} {n}")).mean() / 255 for n in range(6)]
        for label in pathology.CLASSES
    }
    for found in (bright, tiles):
        means = [float(np.mean(values)) for values in found.values()]
        spread = float(np.mean([np.std(values) for values in found.values()]))
        assert max(means) - min(means) < 2.2 * spread
    assert all(0.3 < value < 0.65 for values in bright.values() for value in values)


def test_tiles_differ_as_tissues_do() -> None:
    def looks(label: str, n: int) -> tuple[float, float]:
        """Optical density in red over that in green (nuclei raise it), and the share of empty glass."""
        tile = pathology.tile(label, generator(9, f"{label} {n}")).astype(np.float64)
        red, green = (-np.log(np.maximum(tile[..., channel], 1) / 255).mean() for channel in (0, 1))
        return float(red / green), float((tile.min(axis=2) > 200).mean())

    found = {label: np.mean([looks(label, n) for n in range(5)], axis=0) for label in pathology.CLASSES}
    assert found["tumour"][0] > 1.2 * found["normal"][0]
    assert found["normal"][0] > 1.2 * found["stroma"][0]
    assert found["normal"][1] > 2 * max(found["tumour"][1], found["stroma"][1])


NEGATED = re.compile(r"\b(no|not|without|resolved|clear)\b", re.IGNORECASE)
SIGNS = {
    "pneumonia": re.compile(r"pneumonia|consolidation|opacity|infiltrate|airspace disease", re.IGNORECASE),
    "effusion": re.compile(r"effusion|pleural fluid", re.IGNORECASE),
}


def stated(row: dict[str, str]) -> set[str]:
    sentences = re.split(r"(?<=\.)\s+", f"{row['findings']} {row['impression']}")
    return {
        label for label, sign in SIGNS.items() for s in sentences if sign.search(s) and not NEGATED.search(s)
    }  # fmt: skip


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    return list(reports.rows(11))


def test_reports_state_their_class_and_no_other(table: list[dict[str, str]]) -> None:
    for row in table:
        assert stated(row) == ({row["label"]} - {"normal"}), row


def test_reports_are_balanced_varied_and_filled_in(table: list[dict[str, str]]) -> None:
    counts = Counter((row["split"], row["label"]) for row in table)
    assert {split for split, _ in counts} == {"train", "val", "test"}
    assert all(counts[split, label] == reports.COUNTS[split] for split, label in counts)
    assert len(table) == 600
    texts = [row["findings"] + row["impression"] for row in table]
    assert len(set(texts)) > 590
    assert not any("{" in text or "  " in text for text in texts)
    assert len({row["study_id"] for row in table}) == len(table)
    negated = [row for row in table if row["label"] == "normal" and "effusion" in row["findings"].lower()]
    assert len(negated) > 50


def test_findings_and_impression_name_the_same_side(table: list[dict[str, str]]) -> None:
    for row in table:
        found = re.findall(r"\b(left|right)\b(?! internal jugular)", f"{row['findings']} {row['impression']}".lower())
        assert len(set(found)) <= 1, row


def test_the_table_is_plain_csv(few: Path) -> None:
    with (few / "reports" / "reports.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == reports.COLUMNS
    assert len(rows) == 600


@pytest.mark.parametrize("direction", [LPS, RAS])
def test_shapes_have_their_volume_and_place_in_any_orientation(
    direction: tuple[tuple[float, float, float], ...],
) -> None:
    grid = Grid((40, 44, 30), (2.0, 2.0, 3.0), direction)  # type: ignore[arg-type]
    canvas = Canvas(grid, 0.0)
    canvas.paint(Ellipsoid((10, -8, 6), (20, 14, 24)), 1.0, label=1)
    volume = grid.image(canvas.values)
    assert canvas.values.sum() * 12 == pytest.approx(4 / 3 * np.pi * 20 * 14 * 24, rel=0.02)
    z, y, x = ndimage.center_of_mass(canvas.values)
    assert volume.TransformContinuousIndexToPhysicalPoint((x, y, z)) == pytest.approx((10, -8, 6), abs=0.2)


def test_a_shape_is_painted_alike_with_and_without_its_window() -> None:
    grid = Grid((40, 44, 30), (2.0, 2.0, 3.0), RAS)
    tube = Tube((-10, 4, -20), (25, -9, 12), 6, 3)
    canvas = Canvas(grid, 0.0)
    canvas.bend(np.random.default_rng(0), 2.0, 30)
    canvas.paint(tube, 1.0)
    everywhere = np.clip(0.5 - tube.distance(canvas.x, canvas.y, canvas.z) / np.cbrt(12), 0, 1)
    assert np.abs(canvas.values - everywhere).max() < 1e-5


def test_noise_is_standardised_and_as_smooth_as_asked() -> None:
    rough, smooth = (smooth_noise(np.random.default_rng(1), (90, 80), scale) for scale in (2, 12))
    for noise in (rough, smooth):
        assert noise.shape == (90, 80)
        assert abs(noise.mean()) < 1e-4 and noise.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.4 * np.abs(np.diff(rough, axis=0)).mean()
