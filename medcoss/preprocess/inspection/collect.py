"""What was measured, added up: only counts, histograms and a short line of each sample are kept."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medcoss.preprocess.inspection.histogram import Histogram
from medcoss.preprocess.inspection.plan import Unit
from medcoss.preprocess.inspection.report import Range, Shown, Texts

KEPT = 5


@dataclass
class Case:
    """One sample, as far as warnings need it."""

    name: str
    split: str
    label: str | None
    patient: str


@dataclass
class Found:
    """All samples added up."""

    cases: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unlabelled: Counter[str] = field(default_factory=Counter)
    patients: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    contents: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    spacings: list[tuple[tuple[float, ...], tuple[int, ...]]] = field(default_factory=list)
    histograms: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    foreground: Histogram = field(default_factory=Histogram)
    labels: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    odd: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    words: list[tuple[int, int]] = field(default_factory=list)
    vocabulary: set[str] = field(default_factory=set)
    shown: dict[int, Shown] = field(default_factory=dict)
    pictures: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, unit: Unit, samples: list[dict[str, Any]], first: int, modality: str) -> None:
        """Add what was found of a unit; `first` is the number of its first sample."""
        for number, sample in enumerate(samples):
            name = unit.item.name if unit.item.files else f"sample {first + number}"
            case = Case(name, unit.splits[number], unit.classes[number], unit.patients[number])
            self._place(case, sample)
            if "shown" in sample:
                number = sample["shown"].pop("number")
                self.shown[number] = Shown(split=case.split, label=case.label, **sample["shown"])
            if "texts" in sample:
                self.words += [(w, c) for w, c in sample["texts"]]
                self.vocabulary.update(sample["vocabulary"])
            else:
                self._values(case, sample, str(unit.item.data.get("modality") or modality))

    def add_unread(self, unit: Unit, first: int, reason: str) -> None:
        """Say of the drawn samples of a unit that they could not be read."""
        data = unit.item.data
        drawn = {0: data["sample"]} if "sample" in data else {
            int(row) - first: number for row, number in data.get("samples", {}).items()}  # fmt: skip
        for at, number in drawn.items():
            key = unit.item.name if unit.item.files else f"sample {first + at}"
            self.shown[number] = Shown(key=key, split=unit.splits[at], label=unit.classes[at], problem=reason)

    def _place(self, case: Case, sample: dict[str, Any]) -> None:
        self.cases += 1
        self.splits[case.split] += 1
        if case.label is None:
            self.unlabelled[case.split] += 1
        else:
            self.classes[case.split][case.label] += 1
        if case.patient:
            self.patients[case.split].add(case.patient)
        self.contents[sample["sha256"]].append((case.split, case.name))

    def _values(self, case: Case, sample: dict[str, Any], modality: str) -> None:
        shape = tuple(sample["shape"])
        self.shapes[shape] += 1
        self.channels[sample["channels"]] += 1
        self.types[sample["type"]] += 1
        if sample["spacing"]:
            self.spacings.append((tuple(sample["spacing"]), shape))
        histogram = Histogram(**sample["histogram"])
        self.histograms[case.split].add(histogram)
        for code, holds in (
            ("not_finite", sample["not_finite"] > 0),
            ("constant", sample["constant"]),
            (
                "out_of_range",
                # a PNG slice holds HU and an offset
                modality == "ct"
                and len(shape) == 3
                and histogram.number
                and not -1024 <= histogram.low <= histogram.high <= 3071,
            ),
            ("wrong_mask", bool(sample.get("mask_problem"))),
            ("empty_mask", "labels" in sample and not set(sample["labels"]) - {"0"}),
            ("without_mask", "labels" not in sample and not sample.get("mask_problem")),
        ):
            if holds:
                self.odd[code].append(case.name)
        if "labels" in sample:
            self.masks += 1
            self.labels.update(sample["labels"])
            self.foreground.add(Histogram(**sample["foreground"]))
        if "picture" in sample:
            self.pictures[case.split, case.label or ""].append(sample["picture"])

    def texts(self) -> Texts | None:
        """Reports in numbers."""
        if not self.words:
            return None
        counts = np.array(self.words)
        return Texts(
            reports=len(self.words), empty=int((counts[:, 0] == 0).sum()), words=spread(counts[:, 0]),
            characters=spread(counts[:, 1]), vocabulary=len(self.vocabulary),
        )  # fmt: skip


def spread(values: Any) -> Range:
    """Smallest, median and largest."""
    return Range(minimum=float(min(values)), median=float(np.median(values)), maximum=float(max(values)))
