"""Pictures of a segmenter's scores: overlays of the best, the median and the worst case, and a box plot of Dice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from medcoss.evaluation.pictures import save, short
from medcoss.evaluation.predict import Case

# of each class the colours of the true and of the predicted contour (Okabe and Ito, 2008)
PAIRS = (("#56B4E9", "#E69F00"), ("#009E73", "#CC79A7"), ("#F0E442", "#D55E00"))
# share of the structure's size that is shown around it
_MARGIN = 0.35
_LEAST_SHOWN = 24
# inches of one of the two columns
_WIDTH = 3.7
Slice = NDArray[np.bool_]


@dataclass(frozen=True)
class Shot:
    """One case as it is drawn: a slice (H, W) of the image and of its masks (K, H, W), true and predicted.

    `place` tells the slice and how many there are, None for an image; `spacing` is that of rows and columns.
    """

    name: str
    dice: dict[str, float]
    image: NDArray[np.float32]
    reference: Slice
    predicted: Slice
    place: tuple[int, int] | None
    spacing: tuple[float, ...]

    @property
    def score(self) -> float:
        """Mean Dice of the classes."""
        return float(np.mean(list(self.dice.values())))


class Gallery:
    """Collects the cases of an evaluation; their slices lie in `folder` until `draw`, which removes them.

    Cases without any true structure are drawn only where no others are: there is nothing to see in them.
    """

    def __init__(self, classes: Sequence[str], unit: str, folder: Path) -> None:
        self.classes, self.unit, self.folder = classes, unit, folder
        self._kept: list[tuple[bool, float, str, Path]] = []

    def add(self, case: Case, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take a case with its rows of scores, one a class."""
        dice = {str(row["class"]): float(row["dice"]) for row in rows}
        shot = shot_of(case, dice)
        path = self.folder / f"shot-{len(self._kept):06d}.npz"
        np.savez(path, image=shot.image, reference=shot.reference, predicted=shot.predicted, place=shot.place or (),
                 spacing=shot.spacing, dice=list(dice.values()))  # fmt: skip
        self._kept.append((bool(case.reference_masks.any()), shot.score, case.name, path))

    def draw(self, path: Path) -> None:
        """Draw the best, the median and the worst case of those that were added."""
        order = sorted([one for one in self._kept if one[0]] or self._kept, key=lambda one: (one[1], one[2]))
        chosen = {"Worst": order[0], "Median": order[(len(order) - 1) // 2], "Best": order[-1]}
        # two cases have no median, one is all of them
        words = {1: ("Best",), 2: ("Best", "Worst")}.get(len(order), ("Best", "Median", "Worst"))
        shots = {word if len(order) > 1 else "Only": self._load(chosen[word]) for word in words}
        draw_overlays(shots, self.classes, self.unit, path)
        for *_, kept in self._kept:
            kept.unlink()

    def _load(self, kept: tuple[bool, float, str, Path]) -> Shot:
        with np.load(kept[3]) as found:
            place = tuple(int(n) for n in found["place"])
            dice = dict(zip(self.classes, map(float, found["dice"]), strict=True))
            return Shot(kept[2], dice, found["image"], found["reference"], found["predicted"],
                        (place[0], place[1]) if place else None, tuple(map(float, found["spacing"])))  # fmt: skip


def shot_of(case: Case, dice: dict[str, float]) -> Shot:
    """Of a volume the slice in the plane with the largest true area; where nothing is true, with the largest predicted
    one.
    """
    image, reference, predicted = case.image, case.reference_masks, case.predicted_masks
    place = None
    if image.ndim == 3:
        areas = next((a for mask in (reference, predicted) if (a := mask.any(0).sum((1, 2))).any()), None)
        chosen = image.shape[0] // 2 if areas is None else int(areas.argmax())
        place = (chosen + 1, image.shape[0])
        image, reference, predicted = image[chosen], reference[:, chosen], predicted[:, chosen]
    return Shot(case.name, dice, np.asarray(image, np.float32), reference, predicted, place, case.spacing[-2:])


def draw_overlays(shots: Mapping[str, Shot], classes: Sequence[str], unit: str, path: Path) -> None:
    """A row for each case: the slice with the cut-out, and the cut-out with the contours, true and predicted."""
    # rows as high as what is in them
    heights = [_WIDTH * _aspect(shot) + 0.6 for shot in shots.values()]
    figure = Figure(figsize=(8.6, sum(heights) + 0.5), layout="constrained")
    axes = figure.subplots(len(shots), 2, squeeze=False, height_ratios=heights)
    for (word, shot), (whole, detail) in zip(shots.items(), axes, strict=True):
        window = _window(shot)
        for axis in (whole, detail):
            _show(axis, shot, unit)
        height, width = shot.spacing
        top, bottom, left, right = window
        corner, size = (left * width, top * height), ((right - left) * width, (bottom - top) * height)
        if shot.image.shape != (bottom - top, right - left):
            whole.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=1.2, linestyle="--"))
        detail.set(xlim=(left * width, right * width), ylim=(bottom * height, top * height))
        _contours(detail, shot)
        figure_of = "" if shot.place is None else f", slice {shot.place[0]} of {shot.place[1]}"
        whole.set_title(f"{word}: {short(shot.name)}{figure_of}", fontsize=10)
        scores = ", ".join(f"{short(name)} {value:.3f}" for name, value in shot.dice.items())
        detail.set_title(f"Dice {shot.score:.3f}" + (f" ({scores})" if len(classes) > 1 else ""), fontsize=10)
    handles = [
        Line2D([], [], color=colour, linestyle=style, linewidth=2, label=f"{short(name)}, {what}")
        for name, pair in zip(classes, _pairs(len(classes)), strict=True)
        for colour, style, what in ((pair[0], "-", "true"), (pair[1], "--", "predicted"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), facecolor="0.35",
                  labelcolor="white", fontsize=9, handlelength=3)  # fmt: skip
    save(figure, path)


def _aspect(shot: Shot) -> float:
    """How high the higher one of slice and cut-out is, of its width; of strips, as much as a page takes."""
    (rows, columns), (height, width) = shot.image.shape, shot.spacing
    top, bottom, left, right = _window(shot)
    found = max(rows * height / (columns * width), (bottom - top) * height / ((right - left) * width))
    return min(max(found, 0.4), 1.6)


def _pairs(number: int) -> list[tuple[str, str]]:
    return [PAIRS[i % len(PAIRS)] for i in range(number)]


def _show(axis: Axes, shot: Shot, unit: str) -> None:
    """The slice in grey, its axes in the unit of the spacing."""
    (rows, columns), (height, width) = shot.image.shape, shot.spacing
    low, high = np.percentile(shot.image, (1, 99))
    axis.imshow(shot.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest",
                extent=(0, columns * width, rows * height, 0))  # fmt: skip
    axis.set(xlabel=f"x [{unit}]", ylabel=f"y [{unit}]")
    axis.tick_params(labelsize=8)


def _contours(axis: Axes, shot: Shot) -> None:
    (rows, columns), (height, width) = shot.image.shape, shot.spacing
    x, y = (np.arange(columns) + 0.5) * width, (np.arange(rows) + 0.5) * height
    for number, pair in enumerate(_pairs(len(shot.reference))):
        for mask, colour, style in ((shot.reference, pair[0], "-"), (shot.predicted, pair[1], "--")):
            if mask[number].any():
                axis.contour(x, y, mask[number].astype(float), levels=[0.5], colors=colour, linestyles=style,
                             linewidths=1.8)  # fmt: skip


def _window(shot: Shot) -> tuple[int, int, int, int]:
    """First and last row and column of what is shown large: the structures, true and predicted, with some space; a
    square, if the image has room for it.
    """
    found = (shot.reference | shot.predicted).any(0)
    rows, columns = found.shape
    if not found.any():
        return 0, rows, 0, columns
    inside = [np.flatnonzero(found.any(axis)) for axis in (1, 0)]
    # in the unit of the spacing, so that it looks square
    sizes = [(places[-1] - places[0] + 1) * step for places, step in zip(inside, shot.spacing, strict=True)]
    side = max(max(sizes) * (1 + 2 * _MARGIN), _LEAST_SHOWN * max(shot.spacing))
    ends: list[int] = []
    for places, step, length in zip(inside, shot.spacing, found.shape, strict=True):
        wanted = min(round(side / step), length)
        start = min(max(round((places[0] + places[-1] + 1) / 2 - wanted / 2), 0), length - wanted)
        ends += [start, start + wanted]
    return ends[0], ends[1], ends[2], ends[3]


def draw_dice(values: Mapping[str, Sequence[float]], path: Path) -> None:
    """Box plot of the cases' Dice, a box for each class: quartiles, whiskers at 1.5 times their distance, every case
    as a point, the mean as a diamond.
    """
    figure = Figure(figsize=(max(3.6, 1.6 + 1.25 * len(values)), 4.6), layout="constrained")
    axis = figure.subplots()
    columns = [np.asarray(column, dtype=float) for column in values.values()]
    boxes = axis.boxplot(
        columns, widths=0.5, patch_artist=True, showfliers=False, showmeans=True, medianprops={"color": "black"},
        meanprops={"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black", "zorder": 4},
    )  # fmt: skip
    for box in boxes["boxes"]:
        box.set(facecolor="#56B4E9", alpha=0.6)
    shift = np.random.default_rng(0)
    for place, column in enumerate(columns, start=1):
        beside = place + shift.uniform(-0.17, 0.17, len(column))
        axis.plot(beside, column, "o", color="#D55E00", markersize=4, alpha=0.7, zorder=3, markeredgewidth=0)
    names = [f"{short(name)}\n{len(column)} cases" for name, column in zip(values, columns, strict=True)]
    axis.set_xticks(range(1, len(columns) + 1), names)
    axis.set(ylim=(-0.03, 1.03), ylabel="Dice coefficient (1 is best)", title="Dice of the cases")
    axis.grid(axis="y", color="0.9", linewidth=0.8)
    axis.set_axisbelow(True)
    save(figure, path)
