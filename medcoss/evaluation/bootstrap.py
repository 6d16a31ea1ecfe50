"""95 % intervals of scores by resampling the cases (Efron and Tibshirani, 1993): how far another test set like this
one could have moved a score.

Statistics are computed of weights: how often each case was drawn. So all resamples are a few matrix products.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medcoss.evaluation.calibration import calibration_bins
from medcoss.specs.records import Draws

LEVEL = 0.95
# that are kept for comparisons: 100 kB
MOST_DRAWS = 2000
# numbers that the weights of one block of resamples may hold: 64 MB
_BLOCK = 8_000_000
# of the resamples in which a score has to be defined for its interval to be given
_ENOUGH = 0.5
Floats = NDArray[np.float64]
Ints = NDArray[np.integer]
Statistics = Callable[[Floats], dict[str, Floats]]
Intervals = dict[str, tuple[float, float]]


def intervals(statistics: Statistics, units: Sequence[str], resamples: int, seed: int) -> Intervals:
    """Percentile intervals of every number that `statistics` gives, see `resampled` and `intervals_of`."""
    return intervals_of(resampled(statistics, units, resamples, seed))


def resampled(statistics: Statistics, units: Sequence[str], resamples: int, seed: int) -> dict[str, Floats]:
    """Every number that `statistics` gives for weights (B, N) as (B,), in all resamples.

    `units[i]` names what case i is drawn with: all cases of a unit, a patient for instance, come together, because
    they do not vary for themselves. There is nothing for fewer than two units. The draws depend on the seed, the number
    of resamples and the units alone.
    """
    names, unit_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    if resamples == 0 or len(names) < 2:
        return {}
    found: dict[str, list[Floats]] = {}
    for weights in _weights(len(names), unit_of, resamples, seed):
        for name, values in statistics(weights).items():
            found.setdefault(name, []).append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def intervals_of(draws: Mapping[str, Floats]) -> Intervals:
    """Percentile intervals of `resampled` numbers. No interval is given for a score that is undefined (NaN) in more
    than half of the resamples; resamples without the score are left out otherwise.
    """
    return {name: ends for name, values in draws.items() if (ends := _ends(values)) is not None}


def draws_of(drawn: Mapping[str, Floats], names: Iterable[str], cases: Iterable[Sequence[str]], resamples: int,
             seed: int) -> Draws | None:  # fmt: skip
    """The `resampled` numbers of these names as they are kept, at most the first MOST_DRAWS; None where there are none.

    `cases` tell of each case what it is drawn with and its name: what they are must be the same for a pair.
    """
    if not drawn:
        return None
    known = json.dumps(sorted(list(case) for case in cases))
    return Draws(
        digest=hashlib.sha256(known.encode()).hexdigest(), seed=seed, resamples=resamples,
        draws={name: [None if np.isnan(v) else float(f"{v:.6g}") for v in drawn[name][:MOST_DRAWS]]
               for name in names if name in drawn},
    )  # fmt: skip


def _weights(units: int, unit_of: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // max(len(unit_of), units))
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        drawn = rng.integers(units, size=(count, units)) + units * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=count * units).reshape(count, units)
        yield times[:, unit_of].astype(np.float64)


def _ends(values: Floats) -> tuple[float, float] | None:
    known = values[~np.isnan(values)]
    if len(known) < _ENOUGH * len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def weighted_means(columns: dict[str, Sequence[float | None]]) -> Statistics:
    """Means of columns (N,), None where a case has no value."""
    values = {name: np.array([np.nan if v is None else v for v in c], dtype=np.float64) for name, c in columns.items()}

    def statistics(weights: Floats) -> dict[str, Floats]:
        return {name: _ratio(weights @ np.nan_to_num(v), weights @ ~np.isnan(v)) for name, v in values.items()}

    return statistics


def classification_statistics(probabilities: NDArray[np.floating], labels: Ints, classes: Sequence[str]) -> Statistics:
    """The scores of `medcoss.evaluation.metrics.classification_scores`, and precision, recall, F1 and AUC of each
    class as `recall/NAME`.
    """
    count, (n, k) = len(classes), probabilities.shape
    predicted = probabilities.argmax(axis=1)
    cells = np.zeros((n, k * k))
    cells[np.arange(n), labels * k + predicted] = 1
    bins, gaps = calibration_bins(probabilities, labels)
    in_bin = np.zeros((n, int(bins.max(initial=0)) + 1))
    in_bin[np.arange(n), bins] = gaps
    orders = {(i, j): _Order(probabilities[:, i], labels == i, labels == j)
              for i in range(count) for j in range(count) if i != j}  # fmt: skip
    against_rest = [_Order(probabilities[:, i], labels == i, labels != i) for i in range(count)]

    def statistics(weights: Floats) -> dict[str, Floats]:
        total = weights.sum(1)
        table = (weights @ cells).reshape(len(weights), k, k)
        right, true, said = np.diagonal(table, axis1=1, axis2=2), table.sum(2), table.sum(1)
        f1 = _ratio(2 * right, true + said)
        of_class = np.stack([order.auc(weights) for order in against_rest], 1)
        found = {
            "accuracy": right.sum(1) / total,
            "f1": np.nanmean(f1, axis=1),
            "ece": np.abs(weights @ in_bin).sum(1) / total,
        }
        if count > 1:
            found["auc"] = of_class.mean(1)
            found["auc_ovo"] = np.mean([order.auc(weights) for order in orders.values()], axis=0)
        for i, name in enumerate(classes):
            found |= {f"precision/{name}": _ratio(right[:, i], said[:, i]),
                      f"recall/{name}": _ratio(right[:, i], true[:, i]),
                      f"f1/{name}": f1[:, i], f"auc/{name}": of_class[:, i]}  # fmt: skip
        return found

    return statistics


class _Order:
    """The chance that a positive case has a higher score than a negative one, ties half: the area under the ROC."""

    def __init__(self, scores: NDArray[np.floating], positive: NDArray[np.bool_], negative: NDArray[np.bool_]) -> None:
        chosen = np.flatnonzero(positive | negative)
        self.order = chosen[np.argsort(scores[chosen], kind="stable")]
        ordered = scores[self.order]
        # cases of one score begin at these places
        self.starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(ordered) else np.array([], int)
        self.positive = positive[self.order]

    def auc(self, weights: Floats) -> Floats:
        """Of weights (B, N), as (B,); NaN without a positive or a negative case."""
        if len(self.order) == 0:
            return np.full(len(weights), np.nan)
        mine = weights[:, self.order]
        up = np.add.reduceat(mine * self.positive, self.starts, axis=1)
        down = np.add.reduceat(mine * ~self.positive, self.starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        return _ratio((up * below).sum(1), up.sum(1) * down.sum(1))


def _ratio(above: Floats, below: Floats) -> Floats:
    """The quotient, NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
