"""Pictures of a report: montages, histograms of intensities and spacings, class balance."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medcoss.preprocess.inspection.collect import Found
from medcoss.preprocess.inspection.report import Report

_GAP, _HEAD = 4, 24
# what values are, by source, modality and axes; of others, only the scanner knows
_VALUES = {("raw", "ct", 3): "value, HU", ("raw", "xray", 2): "grey level", ("prepared", "xray", 2): "grey level",
           ("raw", "pathology", 2): "colour level", ("prepared", "pathology", 2): "colour level",
           ("prepared", "ct", 3): "value of a sample (HU / 1024, unless the recipe says otherwise)",
           ("prepared", "mr", 3): "value of a sample (z-score, unless the recipe says otherwise)"}  # fmt: skip


def draw(report: Report, found: Found, folder: Path) -> list[str]:
    """Write the pictures to `folder`; their names."""
    made = []
    for split in sorted({split for split, _ in found.pictures}):
        name = f"montage_{split}.png"
        rows = {label: tiles for (of, label), tiles in sorted(found.pictures.items()) if of == split}
        _montage(rows, folder / name)
        made.append(name)
    for name, wanted, drawn in (
        ("intensities.png", report.intensities, _intensities),
        ("spacings.png", found.spacings, _spacings),
        ("classes.png", report.classes, _classes),
    ):
        if wanted:
            figure = _figure()
            drawn(figure.subplots(), report, found)
            figure.tight_layout()
            figure.savefig(folder / name, dpi=110, metadata={"Software": None})
            made.append(name)
    return made


def _figure() -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 3.6))


def _montage(rows: dict[str, list[str]], path: Path) -> None:
    """A row of tiles for each class, wrapped at four times three planes or eight images."""
    opened = {label: [Image.open(io.BytesIO(base64.b64decode(t))) for t in tiles] for label, tiles in rows.items()}
    width, height = (max(tile.size[axis] for tiles in opened.values() for tile in tiles) for axis in (0, 1))
    across = 2 if width > height else 8
    lines = {label: -(-len(tiles) // across) for label, tiles in opened.items()}
    columns = min(across, max(len(tiles) for tiles in opened.values()))
    whole = sum(n * (height + _GAP) + (_HEAD if label else 0) for label, n in lines.items()) + _GAP
    sheet = Image.new("RGB", (max(columns * (width + _GAP), 240) + _GAP, whole), "white")
    pen, top = ImageDraw.Draw(sheet), _GAP
    for label, tiles in opened.items():
        if label:
            pen.text((_GAP, top), label, fill="black", font=ImageFont.load_default(size=16))
            top += _HEAD
        for number, tile in enumerate(tiles):
            down, right = divmod(number, across)
            sheet.paste(tile, (_GAP + right * (width + _GAP), top + down * (height + _GAP)))
        top += lines[label] * (height + _GAP)
    sheet.save(path)


def _intensities(axis: Any, report: Report, found: Found) -> None:
    for split, one in sorted(report.intensities.items()):
        by = max(len(one.counts) // 256, 1)
        counts = np.add.reduceat(one.counts, range(0, len(one.counts), by)) / max(one.values, 1) * 100
        edges = one.start + one.width * by * np.arange(len(counts) + 1)
        axis.stairs(counts, edges, label=split)
    axis.set_yscale("log")
    axis.set_xlabel(_VALUES.get((report.source, report.modality, len(report.size)), "value as stored"))
    axis.set_ylabel("share of pixels or voxels, %")
    axis.legend()


def _spacings(axis: Any, report: Report, found: Found) -> None:
    for axes in (2, 3):
        values = np.array([s for s, _ in found.spacings if len(s) == axes])
        if len(values):
            shift = np.linspace(-0.25, 0.25, len(values)) if len(values) > 1 else np.zeros(1)
            for place, name in enumerate("zyx"[-axes:], 3 - axes):
                axis.scatter(place + shift, values[:, place - 3 + axes], s=14, alpha=0.6, color=f"C{place}")
                axis.plot([place - 0.35, place + 0.35], [np.median(values[:, place - 3 + axes])] * 2, color=f"C{place}",
                          label=f"{name}: median {np.median(values[:, place - 3 + axes]):.3g} mm")  # fmt: skip
    axis.set_xticks(range(3), ["z", "y", "x"])
    # room for the legend above the largest
    axis.set_ylim(0, 1.3 * max(max(spacing) for spacing, _ in found.spacings))
    axis.set_ylabel("spacing, mm")
    axis.legend(loc="upper center", ncols=3)


def _classes(axis: Any, report: Report, found: Found) -> None:
    names = sorted({name for counts in report.classes.values() for name in counts})
    width = 0.8 / len(report.classes)
    for number, (split, counts) in enumerate(sorted(report.classes.items())):
        places = np.arange(len(names)) + (number - (len(report.classes) - 1) / 2) * width
        axis.bar_label(axis.bar(places, [counts.get(n, 0) for n in names], width, label=split), fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=20 if len(names) > 4 else 0)
    axis.margins(y=0.12)
    axis.set_ylabel("samples")
    axis.legend()
