"""Unit vectors on disk and the search for the nearest ones, by cosine (faiss)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from medcoss.run import BadInput

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
NAME = "vectors.faiss"
# with more vectors a graph is built where nobody says otherwise
EXACT_UP_TO = 100_000
# neighbours in the graph, and candidates while it is built and searched (Malkov and Yashunin, 2018)
_NEIGHBOURS, _BUILD, _SEARCH = 32, 200, 128


def unit(vectors: Floats) -> Floats:
    """Vectors (N, d) of length one, whose products are cosines. Raises BadInput for one that has no direction."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    wrong = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(wrong):
        raise BadInput(f"vector {wrong[0]} has no direction: its length is {lengths[wrong[0], 0]}", "vector")
    result: Floats = (vectors / lengths).astype(np.float32)
    return result


def method_for(count: int, wanted: str) -> Literal["exact", "approximate"]:
    """exact or approximate, where `wanted` may be auto."""
    small = count <= EXACT_UP_TO
    return "exact" if wanted == "exact" or (wanted == "auto" and small) else "approximate"


def build(vectors: Floats, method: str, folder: Path) -> None:
    """Write the index of unit vectors (N, d) to `vectors.faiss`: a list that is searched whole, or a graph (HNSW)."""
    width = vectors.shape[1]
    index: Any = faiss.IndexFlatIP(width)
    if method == "approximate":
        index = faiss.IndexHNSWFlat(width, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD
    index.add(np.ascontiguousarray(vectors))
    faiss.write_index(index, str(folder / NAME))


@dataclass(frozen=True)
class Vectors:
    """An index in memory."""

    index: Any

    @classmethod
    def read(cls, folder: Path) -> "Vectors":
        """The index that `build` wrote."""
        return cls(faiss.read_index(str(folder / NAME)))

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return int(self.index.d)

    @property
    def approximate(self) -> bool:
        """True for a graph."""
        return hasattr(self.index, "hnsw")

    def vector(self, number: int) -> Floats:
        """A vector (d,)."""
        found: Floats = self.index.reconstruct(number)
        return found

    def search(self, vector: Floats, k: int, among: Ids | None = None, *, exact: bool = False
               ) -> tuple[Ids, Floats, bool]:  # fmt: skip
        """Numbers and cosines of the at most `k` nearest to a vector (d,), nearest first; whether all were compared.

        `among` are the only numbers that may be found. Where they are few, or with `exact`, each is compared, also in a
        graph: a graph whose nodes are mostly forbidden leads astray.
        """
        query = unit(np.ascontiguousarray(vector, dtype=np.float32)[None])
        flat = self.index.storage if self.approximate else self.index
        through_graph = self.approximate and not exact and (among is None or len(among) > EXACT_UP_TO)
        chosen = {} if among is None else {"sel": faiss.IDSelectorBatch(among)}
        k = min(k, len(self) if among is None else len(among))
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32), True
        if through_graph:
            options: Any = faiss.SearchParametersHNSW(efSearch=max(_SEARCH, 4 * k), **chosen)
            scores, numbers = self.index.search(query, k, params=options)
        else:
            options = faiss.SearchParameters(**chosen)
            # the storage of a graph is known as an index of distances, whatever its metric
            scores, numbers = faiss.downcast_index(flat).search(query, k, params=options)
        found = numbers[0] >= 0
        return numbers[0][found], np.clip(scores[0][found], -1, 1), not through_graph


def numbers_where(columns: Iterable[tuple[NDArray[Any], Iterable[Any]]]) -> Ids | None:
    """The rows whose value in each column is one of those wanted; None when nothing is wanted."""
    kept: NDArray[np.bool_] | None = None
    for column, wanted in columns:
        fits = np.isin(column, list(wanted))
        kept = fits if kept is None else kept & fits
    return None if kept is None else np.flatnonzero(kept).astype(np.int64)
