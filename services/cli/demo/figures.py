"""The report's pictures that no job has drawn: timeline, curves, answers, overlay, scatter."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from medcoss.preprocess.io import read_image
from medcoss.preprocess.volumes import to_lps
from services.cli.demo.recorder import Step

mpl.use("Agg")
from matplotlib import pyplot as plt

KIND_COLOURS = {
    "upload": "#8a94a6", "preprocess": "#4c78a8", "pretrain": "#f58518", "build_buffer": "#b279a2",
    "finetune": "#54a24b", "evaluate": "#72b7b2", "export": "#e45756", "inference": "#9d755d",
}  # fmt: skip
Series = tuple[NDArray[np.float64], NDArray[np.float64]]


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def draw_timeline(steps: list[Step], path: Path) -> None:
    """When each step ran, one row each, coloured by its kind."""
    timed = [step for step in steps if step.kind]
    figure, axis = plt.subplots(figsize=(10, 0.27 * len(timed) + 1))
    for row, step in enumerate(timed):
        width = max(step.ended_s - step.began_s, 0.3)
        axis.barh(row, width, left=step.began_s, height=0.7, color=KIND_COLOURS[step.kind])
        axis.text(step.began_s + width + 1.5, row, f"{width:.0f} s", va="center", fontsize=7, color="#555")
    axis.set_yticks(range(len(timed)), [step.title for step in timed], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("seconds since the start")
    axis.spines[["top", "right"]].set_visible(False)
    kinds = list(dict.fromkeys(step.kind for step in timed))
    handles = [mpl.patches.Patch(color=KIND_COLOURS[kind], label=kind) for kind in kinds]
    axis.legend(handles=handles, fontsize=7, loc="upper right", frameon=False)
    _save(figure, path)


def draw_curves(panels: dict[str, dict[str, Series]], path: Path) -> None:
    """Loss curves, one panel a job, one line a loss; distillation losses on an axis of their own."""
    columns = 3
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(10.5, 2.9 * rows), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=False):
        own = {name: points for name, points in series.items() if not name.startswith("distill/")}
        others = {name: points for name, points in series.items() if name.startswith("distill/")}
        for name, (steps, values) in own.items():
            axis.plot(steps, values, color="#f58518", label=name, linewidth=1.4)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=7)
        handles = axis.get_lines()[:]
        if others:
            twin = axis.twinx()
            twin.set_yscale("log")
            twin.tick_params(labelsize=7)
            for number, (name, (steps, values)) in enumerate(others.items()):
                twin.plot(steps, values, color=f"C{number}", linestyle=":", linewidth=1.2, label=name)
            handles = [*handles, *twin.get_lines()]
        axis.legend(handles, [str(line.get_label()) for line in handles], fontsize=6.5, frameon=False)
    figure.tight_layout()
    _save(figure, path)


def draw_answers(answers: list[tuple[Path, str, dict[str, float]]], path: Path) -> None:
    """Images with the class probabilities that the gateway gave: (file, true class, probabilities)."""
    figure, axes = plt.subplots(2, len(answers), figsize=(1.9 * len(answers), 4), height_ratios=[2, 1], squeeze=False)
    for column, (file, truth, probabilities) in enumerate(answers):
        image = read_image(file.read_bytes(), file.name)
        axes[0, column].imshow(image, cmap="gray")
        axes[0, column].set_title(f"true: {truth}", fontsize=8)
        axes[0, column].axis("off")
        names, values = list(probabilities), list(probabilities.values())
        axes[1, column].barh(names, values, color=["#54a24b" if n == truth else "#bbb" for n in names])
        axes[1, column].set_xlim(0, 1)
        axes[1, column].tick_params(labelsize=7)
        if column:
            axes[1, column].set_yticklabels([])
    figure.tight_layout()
    _save(figure, path)


def draw_segmentation(volume: Path, reference: Path, mask: Path, path: Path) -> float:
    """Three slices of a volume with the served mask (filled) and the reference (line); returns their Dice."""
    image, truth, found = (sitk.GetArrayFromImage(to_lps(sitk.ReadImage(str(p)))) for p in (volume, reference, mask))
    truth, found = truth > 0, found > 0
    inside = np.flatnonzero(truth.any(axis=(1, 2)))
    chosen = inside[[len(inside) // 4, len(inside) // 2, 3 * len(inside) // 4]]
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.2))
    low, high = np.percentile(image, (1, 99.5))
    for column, slice_number in enumerate(chosen):
        for row in (0, 1):
            axes[row, column].imshow(image[slice_number], cmap="gray", vmin=low, vmax=high)
            axes[row, column].axis("off")
        axes[0, column].set_title(f"slice {slice_number}", fontsize=9)
        shown = np.ma.masked_equal(found[slice_number].astype(float), 0)
        axes[1, column].imshow(shown, cmap="autumn", alpha=0.45, vmin=0, vmax=1)
        axes[1, column].contour(truth[slice_number], levels=[0.5], colors="lime", linewidths=1.2)
    figure.tight_layout()
    _save(figure, path)
    total = int(truth.sum()) + int(found.sum())
    return 2 * int((truth & found).sum()) / total if total else 1.0


def draw_scatter(panels: dict[str, tuple[NDArray[np.float64], list[str]]], path: Path) -> None:
    """Embeddings (N, d) on their two main axes, coloured by class; one panel a model."""
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 4), squeeze=False)
    for axis, (title, (values, labels)) in zip(axes.flat, panels.items(), strict=True):
        spread = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)
        flat = PCA(2, random_state=0).fit_transform(spread)
        for name in sorted(set(labels)):
            chosen = np.array([label == name for label in labels])
            axis.scatter(flat[chosen, 0], flat[chosen, 1], s=16, label=name, alpha=0.8)
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    _save(figure, path)
