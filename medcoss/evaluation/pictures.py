"""Pictures of scores: confusion matrix, overlay of a mask."""

from pathlib import Path

import matplotlib as mpl
import numpy as np

from medcoss.evaluation.predict import Case

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw_confusion(table: list[list[int]], classes: list[str], path: Path) -> None:
    """Confusion matrix with counts; rows are the true classes."""
    counts = np.array(table)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.6 * len(classes)
    figure, axis = plt.subplots(figsize=(side, side))
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else "black"
        axis.text(column, row, str(count), ha="center", va="center", color=colour)
    axis.set_xticks(range(len(classes)), classes, rotation=30, ha="right")
    axis.set_yticks(range(len(classes)), classes)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_overlay(case: Case, classes: list[str], path: Path) -> None:
    """The slice with most of the reference: image, reference contour (green), prediction (filled)."""
    image, predicted, reference = case.image, case.predicted, case.reference
    if image.ndim == 3:
        best = int((reference > 0).sum(axis=(1, 2)).argmax())
        image, predicted, reference = image[best], predicted[best], reference[best]
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.2))
    low, high = np.percentile(image, (1, 99))
    for axis in axes:
        axis.imshow(image, cmap="gray", vmin=low, vmax=high)
        axis.axis("off")
    shown = np.ma.masked_equal(predicted, 0)
    axes[1].imshow(shown, cmap="autumn", alpha=0.45, vmin=1, vmax=max(len(classes), 1) + 1)
    if (reference > 0).any():
        axes[1].contour(reference > 0, levels=[0.5], colors="lime", linewidths=1.2)
    axes[0].set_title(case.name, fontsize=9)
    axes[1].set_title("prediction (filled), reference (line)", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
