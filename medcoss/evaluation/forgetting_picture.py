"""The forgetting report as a picture: heat maps of stages and modalities."""

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np

from medcoss.specs.forgetting_records import ForgettingInfo, Measured

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

_INK = "#1c1c1c"


def draw_forgetting(found: ForgettingInfo, path: Path) -> None:
    """Draw how far the loss of each modality is from where it was learnt and, where there are any, the probe's accuracy
    and the drift of the features; a row a stage, a column a modality that has any. What a stage does not
    know, or what cannot be measured, is grey.
    """
    names = [name for name in found.datasets if any(row.modality == name for row in found.table)]
    # what the newest stage has learnt begins with it
    learnt = dict.fromkeys(names, len(found.stages) - 1) | {one.modality: one.learnt_at for one in found.kept}
    start = {row.modality: row for row in found.table if row.stage == learnt[row.modality]}

    def ratio(row: Measured) -> float | None:
        which = "loss" if start[row.modality].loss is not None else "fresh_loss"
        first, now = getattr(start[row.modality], which), getattr(row, which)
        return now / first - 1 if first and now is not None else None

    panels: list[tuple[str, Callable[[Measured], float | None], Callable[[Measured], float | None], str]] = [
        ("pretext loss: change since it was learnt", ratio, lambda row: row.loss or row.fresh_loss, "RdBu_r"),
        ("balanced accuracy of a probe", lambda row: row.accuracy, lambda row: None, "viridis"),
        ("CKA with the stage before", lambda row: row.cka, lambda row: None, "viridis"),
    ]
    shown = [panel for panel in panels if any(panel[1](row) is not None for row in found.table)]
    columns = [[name for name in names if any(panel[1](row) is not None for row in found.table if row.modality == name)]
               for panel in shown]  # fmt: skip
    # a panel without cells, where nothing could be measured
    widths, height = [len(some) for some in columns] or [1], 1.5 + 0.62 * len(found.stages)
    figure, axes = plt.subplots(1, len(widths), figsize=(sum(1.2 + 1.2 * width for width in widths), height),
                                squeeze=False, layout="constrained", width_ratios=widths)  # fmt: skip
    figure.supxlabel("grey: not learnt yet, or not measured", fontsize=8, color="#5f5f5f")
    for axis, mine, (title, value, below, colours) in zip(axes[0], columns, shown, strict=False):
        cells = np.full((len(found.stages), len(mine)), np.nan)
        words: dict[tuple[int, int], str] = {}
        for row in found.table:
            number, under = value(row), below(row)
            if number is None:
                continue
            place = (row.stage, mine.index(row.modality))
            cells[place] = number
            words[place] = f"{round(number, 3) + 0.0:+.1%}\n{under:.3f}" if under is not None else f"{number:.2f}"
        _heat(axis, cells, words, colours)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(mine)), mine, fontsize=8)
        labels = [f"{stage.stage}: {' + '.join(stage.learnt)}" for stage in found.stages]
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylabel("after stage", fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _heat(axis: Axes, cells: np.ndarray, words: dict[tuple[int, int], str], colours: str) -> None:
    """A heat map with numbers in its cells; changes are drawn around 0, shares from 0 to 1."""
    around_zero = colours.endswith("_r")
    reach = max(float(np.nanmax(np.abs(cells))) if np.isfinite(cells).any() else 0.0, 0.1)
    low, high = (-reach, reach) if around_zero else (0.0, 1.0)
    scale = plt.get_cmap(colours).with_extremes(bad="#dcdcdc")
    axis.imshow(cells, cmap=scale, vmin=low, vmax=high, aspect="auto")
    for (row, column), text in words.items():
        red, green, blue, _ = scale((cells[row, column] - low) / (high - low))
        dark = math.sqrt(0.3 * red**2 + 0.59 * green**2 + 0.11 * blue**2) < 0.6
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else _INK)
    axis.set_xticks(np.arange(-0.5, cells.shape[1]), minor=True)
    axis.set_yticks(np.arange(-0.5, cells.shape[0]), minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="both", length=0)
