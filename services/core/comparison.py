"""Evaluations of several models side by side, with a paired bootstrap of their differences.

Each evaluation keeps its scores in the draws of its own bootstrap. Two that drew the same cases are a pair: the
differences of their draws tell how far another test set could have moved the difference of the scores (Efron and
Tibshirani, 1993), without any case being looked at again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from medcoss.specs.records import Draws
from services.core.errors import FieldError, ValidationFailed
from services.core.tables import Evaluation

MOST = 20
HELD_OUT = "held_out"
# the 95 % between the first and the last of 39 cuts
_PARTS = 40
_LOWER_IS_BETTER = ("hd95", "assd", "ece", "loss", "fresh_loss", "forgetting", "average_forgetting",
                    "accuracy_forgetting")  # fmt: skip
# of the draws in which both scores are defined, as for the intervals of the scores themselves
_ENOUGH = 0.5
Interval = tuple[float, float]


@dataclass(frozen=True)
class Compared:
    """A score of one evaluation, None where it has none, and its difference to the first one's.

    `p` is the two-sided bootstrap p-value of the difference: small where draws hardly ever turn it round.
    """

    evaluation: str
    value: float | None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    p: float | None = None


@dataclass(frozen=True)
class Metric:
    """A score in all evaluations, in their order."""

    name: str
    better: str
    values: list[Compared]


@dataclass(frozen=True)
class Comparison:
    """Scores side by side; `unpaired` says of evaluations without a paired bootstrap why."""

    baseline: str
    metrics: list[Metric]
    unpaired: dict[str, str]


def check(rows: Sequence[Evaluation]) -> None:
    """ValidationFailed where what is measured differs: the numbers would not be comparable."""
    first = rows[0]
    # of what was left out of a training, the fold says which part of the dataset it is
    fold = [("fold", "fold")] if first.split == HELD_OUT else []
    for name, noun in (("task", "task"), ("dataset_id", "dataset"), ("split", "split"), *fold):
        other = next((row for row in rows if getattr(row, name) != getattr(first, name)), None)
        if other is not None:
            detail = (
                f"{first.id} has the {noun} {getattr(first, name)}, {other.id} has {getattr(other, name)}; evaluations "
                "are compared on one split of one dataset: evaluate both models there"
            )
            raise ValidationFailed(detail, [FieldError("query:id", detail)])


def compare(rows: Sequence[Evaluation], draws: Mapping[str, Draws]) -> Comparison:
    """Compare evaluations, which `check` has passed, with the first of them; `draws` by id, as far as there are any."""
    first, unpaired = rows[0], _unpaired(rows, draws)
    scores = {row.id: row.info["metrics"] for row in rows}
    names = dict.fromkeys([first.headline, *(name for row in rows for name in scores[row.id])])
    metrics = []
    for name in names:
        values = [
            _compared(
                row, first, name, None if row is first or row.id in unpaired else (draws[row.id], draws[first.id])
            )
            for row in rows
        ]
        metrics.append(Metric(name, "lower" if name.startswith(_LOWER_IS_BETTER) else "higher", values))
    return Comparison(first.id, metrics, unpaired)


def _unpaired(rows: Sequence[Evaluation], draws: Mapping[str, Draws]) -> dict[str, str]:
    """Why evaluations have no paired bootstrap with the first one."""
    first, *others = rows
    if first.id not in draws:
        return {row.id: f"{first.id} keeps no draws of a bootstrap" for row in others}
    found = {}
    for row in others:
        mine = draws.get(row.id)
        if mine is None:
            found[row.id] = "it keeps no draws of a bootstrap"
        elif mine.digest != draws[first.id].digest:
            found[row.id] = "its cases are others than those of the first one"
        elif not mine.pairs_with(draws[first.id]):
            found[row.id] = "its bootstrap has another seed or another number of draws; evaluate it with the same"
    return found


def _compared(row: Evaluation, first: Evaluation, name: str, pair: tuple[Draws, Draws] | None) -> Compared:
    value, base = row.info["metrics"].get(name), first.info["metrics"].get(name)
    ends = row.info.get("intervals", {}).get(name)
    interval = None if ends is None else (ends[0], ends[1])
    if row is first or value is None or base is None:
        return Compared(row.id, value, interval)
    moved = _differences(*(one.draws.get(name, []) for one in pair)) if pair else []
    if not moved:
        return Compared(row.id, value, interval, value - base)
    low, *_, high = quantiles(moved, n=_PARTS, method="inclusive")
    # the observed one counts as a draw, so that no p is 0
    least = 1 + min(sum(one <= 0 for one in moved), sum(one >= 0 for one in moved))
    p = min(1.0, 2 * least / (len(moved) + 1))
    return Compared(row.id, value, interval, value - base, (low, high), p)


def _differences(mine: Sequence[float | None], other: Sequence[float | None]) -> list[float]:
    """The sorted differences of paired draws; none where too few of them have both scores."""
    found = sorted(a - b for a, b in zip(mine, other, strict=True) if a is not None and b is not None)
    return found if len(found) >= max(_ENOUGH * len(mine), 2) else []
