"""A picture of the scores of several trainings: every training a point, means and deviations beside them."""

from pathlib import Path

import matplotlib as mpl

from medcoss.evaluation.runs import shown
from medcoss.specs.run_records import RunsInfo

mpl.use("Agg")
from matplotlib import pyplot as plt

PANELS = 4
_POINT, _MEAN = "#4c72b0", "#222222"


def draw_runs(info: RunsInfo, path: Path) -> None:
    """A panel a score: the trainings of each encoder as points, their mean as a bar with its standard deviation."""
    names = shown(info)[:PANELS]
    width = max(2.6, 1.2 + 0.9 * len(info.groups))
    figure, axes = plt.subplots(1, max(len(names), 1), figsize=(width * max(len(names), 1), 3.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=False):
        for place, group in enumerate(info.groups):
            values = [r.metrics[name] for r in info.runs if r.encoder == group.encoder and name in r.metrics]
            if not values:
                continue
            # side by side: equal scores do not hide each other
            step = 0.3 / max(len(values) - 1, 1)
            left = [place - 0.15 + step * number for number in range(len(values))] if len(values) > 1 else [place]
            axis.scatter(left, values, s=22, color=_POINT, alpha=0.75, zorder=2)
            spread = group.metrics[name]
            axis.errorbar(place + 0.3, spread.mean, yerr=spread.sd or 0.0, fmt="_", markersize=14, capsize=3,
                          color=_MEAN, zorder=3)  # fmt: skip
        axis.set_title(name, fontsize=10)
        axis.set_xlim(-0.6, len(info.groups) - 0.2)
        labels = [group.encoder or f"{group.runs} runs" for group in info.groups]
        axis.set_xticks(range(len(labels)), labels, rotation=20, ha="right", fontsize=9)
        axis.grid(axis="y", alpha=0.3)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.text(0.5, 0.02, "points: single trainings; bar: mean ± standard deviation", fontsize=8, ha="center")
    figure.savefig(path, dpi=120)
    plt.close(figure)
