"""Pictures of a classifier's scores: ROC, confusion matrix, reliability.

Colours are those of Okabe and Ito (2008), which are told apart in all common forms of colour blindness; line styles
tell classes apart once more where there are more of them than colours.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from medcoss.evaluation.calibration import BINS

# without yellow, which white swallows, and without black, which is for means
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", ":", "-.")
DPI = 120
LONGEST_NAME = 24
# cells of a confusion matrix whose number is written in white: the blue behind it is dark
_DARK = 0.55
_GRID = np.linspace(0, 1, 501)
Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]
Intervals = Mapping[str, tuple[float, float]]


def short(name: str) -> str:
    """A name that fits into a legend or under an axis."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def save(figure: Figure, path: Path) -> None:
    """Write the figure as PNG."""
    figure.savefig(path, dpi=DPI)


def draw_roc(probabilities: Probabilities, labels: Labels, classes: Sequence[str], intervals: Intervals,
             path: Path) -> None:  # fmt: skip
    """One ROC curve a class, against all others, and their mean at equal false-positive rates; each with its area,
    and the interval that `intervals` holds of it as `auc/CLASS` and `auc`.

    `probabilities` are (N, K), `labels` (N,). A class without cases, or with all of them, has no curve; the mean is of
    the classes with one.
    """
    # here, because it takes a second that pictures of segmenters need not wait for
    from sklearn.metrics import auc, roc_curve

    # room for the names of many classes beside the curves
    figure = Figure(figsize=(9.6, max(5.6, 1.2 + 0.24 * len(classes))), layout="constrained")
    axis, beside = figure.subplots(1, 2, width_ratios=(5.2, 4.2))
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (1, 3)), label="chance: 0.500")
    looks = [(colour, style) for style in STYLES for colour in COLOURS]
    curves = []
    for number, (name, (colour, style)) in enumerate(zip(classes, cycle(looks), strict=False)):
        own = labels == number
        if not own.any() or own.all():
            axis.plot([], [], color=colour, linestyle=style, label=f"{short(name)}: no curve (one class only)")
            continue
        false, true, _ = roc_curve(own, probabilities[:, number])
        curves.append((np.interp(_GRID, false, true), area := float(auc(false, true))))
        words = f"{short(name)} ({int(own.sum())}): {_with_interval(area, intervals.get(f'auc/{name}'))}"
        axis.plot(false, true, color=colour, linestyle=style, linewidth=1.8, label=words)
    if curves:
        mean = np.mean([curve for curve, _ in curves], axis=0)
        area = float(np.mean([area for _, area in curves]))
        words = f"macro average: {_with_interval(area, intervals.get('auc'))}"
        axis.plot(np.r_[0, _GRID], np.r_[0, mean], color="black", linewidth=2.6, linestyle=(0, (4, 1.5)), label=words)
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01),
             title=f"ROC, one class against all others, {len(labels):,} cases",
             xlabel="false-positive rate (1 - specificity)", ylabel="true-positive rate (sensitivity)")  # fmt: skip
    axis.grid(color="0.9", linewidth=0.8)
    beside.axis("off")
    beside.legend(*axis.get_legend_handles_labels(), loc="upper left", fontsize=9, title_fontsize=9,
                  title="class (cases): AUC [95 % interval]", borderaxespad=0, alignment="left")  # fmt: skip
    save(figure, path)


def _with_interval(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def draw_confusion(table: Sequence[Sequence[int]], classes: Sequence[str], path: Path) -> None:
    """Confusion matrix (K, K) twice, rows are the true classes: counts, and shares of each true class in per cent."""
    counts = np.array(table)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.62 * len(classes)
    figure = Figure(figsize=(2 * side + 1.0, side), layout="constrained")
    left, right = figure.subplots(1, 2)
    _cells(left, share, [[f"{count:,}" for count in row] for row in counts], classes)
    empty = counts.sum(axis=1) == 0
    words = [["-" if empty[i] else f"{100 * value:.1f}" for value in row] for i, row in enumerate(share)]
    image = _cells(right, share, words, classes)
    left.set_title(f"Cases ({counts.sum():,})")
    right.set_title("Share of each true class [%]")
    bar = figure.colorbar(image, ax=[left, right], fraction=0.04, label="share of the true class [%]")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25", "50", "75", "100"])
    save(figure, path)


def _cells(
    axis: Axes, share: NDArray[np.floating], words: Sequence[Sequence[str]], classes: Sequence[str]
) -> AxesImage:
    """Coloured cells with their words; the image."""
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        colour = "white" if value > _DARK else "black"
        axis.text(column, row, words[row][column], ha="center", va="center", color=colour, fontsize=10)
    names, places = [short(name) for name in classes], range(len(classes))
    axis.set_xticks(places, names, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_yticks(places, names)
    axis.set_xticks(np.arange(len(classes) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(classes) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="0.8", linewidth=0.8)
    axis.tick_params(which="minor", length=0)
    axis.set(xlabel="predicted class", ylabel="true class")
    return image


def draw_reliability(bins: Sequence[Mapping[str, float]], error: float, path: Path) -> None:
    """Reliability diagram (Guo et al., 2017) of `medcoss.evaluation.calibration.reliability`: how often the classifier
    is right where it is so sure, the gap to that, and how many cases there are; `error` is the expected calibration
    error.
    """
    figure = Figure(figsize=(5.6, 6.4), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    width, places = 1 / BINS, [b["low"] for b in bins]
    accuracy, sure = [b["accuracy"] for b in bins], [b["confidence"] for b in bins]
    bars = {"width": width, "align": "edge"}
    above.bar(places, accuracy, color="#0072B2", edgecolor="white", label="accuracy", **bars)
    gaps = [s - a for s, a in zip(sure, accuracy, strict=True)]
    above.bar(places, gaps, bottom=accuracy, facecolor="none", edgecolor="#D55E00", hatch="///", linewidth=1,
              label="gap to the mean confidence", **bars)  # fmt: skip
    above.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1.2, label="perfect calibration")
    above.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="accuracy (share of right cases)",
              title=f"Reliability: expected calibration error {error:.3f}")  # fmt: skip
    above.legend(loc="upper left", fontsize=9)
    below.bar(places, [b["cases"] for b in bins], color="0.45", edgecolor="white", **bars)
    below.set(xlabel="confidence (highest class probability)", ylabel="cases")
    for axis in (above, below):
        axis.grid(axis="y", color="0.9", linewidth=0.8)
        axis.set_axisbelow(True)
    save(figure, path)
