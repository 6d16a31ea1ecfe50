"""Vectors as points in the plane: UMAP (McInnes, Healy and Melville, 2018), and a picture of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import umap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medcoss.evaluation.embed import Study

# UMAP needs neighbours
FEWEST = 8
_NEIGHBOURS, _SEED = 15, 0
# names in a legend; the rest are grey
_NAMED = 10
_NONE = "no label"


def project(units: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (N, 2) of unit vectors (N, d), N at least FEWEST, by their cosines; the same for the same vectors."""
    reducer: Any = umap.UMAP(
        n_components=2, metric="cosine", n_neighbors=min(_NEIGHBOURS, len(units) - 1), random_state=_SEED, n_jobs=1,
        # the spectral start needs more points than dimensions and warns of every disconnected part
        init="pca" if min(units.shape) > 2 else "random",
    )  # fmt: skip
    found: NDArray[np.float32] = np.asarray(reducer.fit_transform(units), np.float32)
    return found


def draw_projection(places: NDArray[np.float32], studies: Sequence[Study], names: Mapping[str, str],
                    path: Path) -> None:  # fmt: skip
    """A picture of points (N, 2), coloured by label on the left and by dataset on the right."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    _scatter(left, places, [study.label or _NONE for study in studies], "label")
    _scatter(right, places, [names.get(study.dataset, study.dataset) for study in studies], "dataset")
    figure.savefig(path, dpi=120)


def _scatter(axes: Any, places: NDArray[np.float32], of: list[str], title: str) -> None:
    size = float(np.clip(4000 / len(places), 3, 36))
    groups = np.array(of)
    named = [name for name, _ in Counter(of).most_common(_NAMED)]
    rest = ~np.isin(groups, named)
    if rest.any():
        axes.scatter(*places[rest].T, s=size, color="#c8c8c8", linewidths=0, label=f"{len(set(groups[rest]))} others")
    for number, name in enumerate(named):
        mine = groups == name
        colour = "#9a9a9a" if name == _NONE else f"C{number}"
        axes.scatter(*places[mine].T, s=size, color=colour, linewidths=0, alpha=0.75,
                     label=f"{name} ({mine.sum()})")  # fmt: skip
    axes.set_title(f"by {title}")
    axes.set_xlabel("UMAP 1")
    axes.set_ylabel("UMAP 2")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.legend(loc="best", fontsize=8, markerscale=1.5, framealpha=0.8)
