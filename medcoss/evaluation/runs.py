"""Several trainings of one task: how their scores spread, in numbers and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from medcoss.evaluation.metrics import classification_scores, confusion
from medcoss.specs.records import EvaluationInfo
from medcoss.specs.run_records import GroupRecord, Pooled, RunRecord, RunsInfo, Spread

# where a score may come from, the most telling first
HELD_OUT, TEST, VAL = "held_out", "test", "val"
SOURCES = (HELD_OUT, TEST, VAL, "train")
_FIRST = ("f1", "dice", "accuracy", "auc", "hd95_mm", "hd95_px", "ece")
_DECIDES = {"classification": "val/f1", "segmentation": "val/dice"}
COLUMNS = 6


@dataclass(frozen=True)
class Ran:
    """A training that is over: what it was, where it began, its scores and, with folds, the cases of its own fold."""

    record: RunRecord
    init_model: str | None = None
    size: str = ""
    fold_scores: EvaluationInfo | None = None


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation (n - 1) of a score over trainings."""
    sd = stdev(values) if len(values) > 1 else None
    return Spread(mean=mean(values), sd=sd, low=min(values), high=max(values), runs=len(values))


def spreads(rows: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """The spread of every score that at least one training has, in the order in which they come."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: spread([row[name] for row in rows if name in row]) for name in names}


def summarised(task: str, ran: Sequence[Ran]) -> RunsInfo:
    """What all trainings together tell: groups by encoder in the order of the runs, the first one to compare with."""
    grouped: dict[str | None, list[Ran]] = {}
    for one in ran:
        grouped.setdefault(one.record.encoder, []).append(one)
    first, *_ = grouped.values()
    groups = [_group(task, mine, first) for mine in grouped.values()]
    decides = _DECIDES[task]
    scored = [one.record for one in ran if decides in one.record.metrics and one.record.fold is None]
    # of equal ones the first
    best = max(scored, key=lambda record: (record.metrics[decides], -record.run), default=None)
    classes = next((one.fold_scores.classes for one in ran if one.fold_scores), [])
    return RunsInfo(task=task, classes=classes, decides=decides, best=best.run if best else None, groups=groups,
                    runs=[one.record for one in ran])  # fmt: skip


def _group(task: str, mine: list[Ran], first: list[Ran]) -> GroupRecord:
    pairs = {(one.record.seed, one.record.fold): one.record.metrics for one in first}
    gains = [
        {name: value - before[name] for name, value in one.record.metrics.items() if name in before}
        for one in mine
        if mine is not first and (before := pairs.get((one.record.seed, one.record.fold))) is not None
    ]
    seeds = dict.fromkeys(one.record.seed for one in mine)
    found = [(seed, [o.fold_scores for o in mine if o.record.seed == seed and o.fold_scores]) for seed in seeds]
    return GroupRecord(
        encoder=mine[0].record.encoder, init_model=mine[0].init_model, size=mine[0].size, runs=len(mine),
        metrics=spreads([one.record.metrics for one in mine]), difference=spreads(gains),
        pooled=[pooled(task, seed, scores) for seed, scores in found if scores],
    )  # fmt: skip


def pooled(task: str, seed: int, folds: Sequence[EvaluationInfo]) -> Pooled:
    """The scores of the cases of all folds together."""
    rows = [row for scores in folds for row in scores.cases]
    classes = folds[0].classes
    if task == "segmentation":
        return Pooled(seed=seed, cases=len({row["case"] for row in rows}), metrics=_of_rows(rows, classes))
    labels = np.array([classes.index(row["label"]) for row in rows])
    probabilities = np.array([row["probabilities"] for row in rows], dtype=np.float64)
    # they are stored with six decimals
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Pooled(seed=seed, cases=len(rows), metrics=classification_scores(probabilities, labels),
                  confusion=confusion(probabilities, labels))  # fmt: skip


def _of_rows(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, float]:
    """Means over cases and classes, and of several classes those of each; what is undefined is left out."""
    means: dict[str, float] = {}
    for name in dict.fromkeys(n for row in rows for n, value in row.items() if isinstance(value, float)):
        for of in ["", *(classes if len(classes) > 1 else [])]:
            values = [row[name] for row in rows if row.get(name) is not None and (not of or row["class"] == of)]
            if values:
                means[f"{name}/{of}" if of else name] = float(np.mean(values))
    return means


def shown(info: RunsInfo) -> list[str]:
    """The scores that a table shows: of the most telling source that there is, the most usual ones first."""
    names = dict.fromkeys(name for group in info.groups for name in group.metrics)
    for source in SOURCES:
        mine = [name for name in names if name.split("/")[0] == source and name.count("/") == 1]
        if mine:
            known = [name for first in _FIRST for name in mine if name.split("/")[1] == first]
            return [*known, *(name for name in mine if name not in known)][:COLUMNS]
    return []


def markdown(info: RunsInfo) -> str:
    """The spread of the scores by encoder, and below it every training."""
    names = shown(info)
    head = ["encoder", "size", "runs", *names]
    rows = [
        [group.encoder or "all", group.size, str(group.runs), *(in_words(group.metrics.get(n)) for n in names)]
        for group in info.groups
    ]
    lines = [*_table(head, rows), "", "Mean ± standard deviation of the trainings (n - 1)."]
    differing = [group for group in info.groups if group.difference]
    if differing:
        lines += ["", f"Difference to {info.groups[0].encoder}, of trainings with the same seed and fold:", ""]
        words = [[g.encoder or "", *(in_words(g.difference.get(n), "+") for n in names)] for g in differing]
        lines += _table(["encoder", *names], words)
    lines += _pooled_lines(info)
    each = [
        [str(r.run), r.encoder or "", str(r.seed), "" if r.fold is None else str(r.fold), r.model_id,
         *(f"{r.metrics[n]:.4f}" if n in r.metrics else "" for n in names)]
        for r in info.runs
    ]  # fmt: skip
    best = "" if info.best is None else f" Run {info.best} has the best {info.decides}."
    lines += ["", f"Every training.{best}", "", *_table(["run", "encoder", "seed", "fold", "model", *names], each)]
    return "\n".join(lines) + "\n"


def _pooled_lines(info: RunsInfo) -> list[str]:
    found = [(group.encoder or "all", one) for group in info.groups for one in group.pooled]
    if not found:
        return []
    names = list(dict.fromkeys(name for _, one in found for name in one.metrics if "/" not in name))
    rows = [[who, str(one.seed), str(one.cases), *(f"{one.metrics[n]:.4f}" if n in one.metrics else "" for n in names)]
            for who, one in found]  # fmt: skip
    return ["", "All folds pooled: every case is predicted by the model that has not seen it.", "",
            *_table(["encoder", "seed", "cases", *names], rows)]  # fmt: skip


def in_words(value: Spread | None, sign: str = "") -> str:
    """`0.8120 ± 0.0130`; a single training has no deviation."""
    if value is None:
        return ""
    return f"{value.mean:{sign}.4f}" + ("" if value.sd is None else f" ± {value.sd:.4f}")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]
