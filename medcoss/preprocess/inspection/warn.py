"""What is odd about a dataset, and what to do about it."""

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from medcoss.preprocess.inspection.collect import KEPT, Found
from medcoss.preprocess.inspection.plan import Planned
from medcoss.preprocess.inspection.report import Warned
from medcoss.specs.inspection import InspectOptions

# code: (what the files are, what to do)
_OF_FILES = {
    "not_finite": ("with NaN or infinite values", "Replace these values, or leave the files out."),
    "constant": ("with one value everywhere", "Look whether the export went wrong, and leave them out."),
    "out_of_range": ("with values outside [-1024, 3071] HU", "Check the rescaling (RescaleSlope, RescaleIntercept) and "
                     "metal or padding; preprocessing clips them."),
    "wrong_mask": ("with a mask of another size, or one of fractions or negative numbers", "Export the mask on the "
                   "grid of its image, with whole label values from 0."),
    "empty_mask": ("with a mask without any label", "This is right for cases without a finding; else draw it anew."),
}  # fmt: skip


def warnings(found: Found, planned: Planned, options: InspectOptions) -> list[Warned]:
    """All warnings, in a fixed order."""
    return [*_copies(found), *_patients(found), *_mixed(found, options), *_files(found, planned),
            *_classes(found, options)]  # fmt: skip


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _copies(found: Found) -> Iterator[Warned]:
    across, within = [], []
    for places in found.contents.values():
        if len(places) > 1:
            (across if len({split for split, _ in places}) > 1 else within).append([name for _, name in places])
    if across:
        yield Warned(code="duplicates_across_splits", count=len(across), where=_few(across),
                     detail=f"{_n(len(across), 'content')} (SHA-256) in more than one split",
                     advice="Keep each in one split: a score on what was trained on says nothing.")  # fmt: skip
    if within:
        yield Warned(code="duplicates_within_split", count=len(within), where=_few(within),
                     detail=f"{_n(len(within), 'content')} (SHA-256) several times in one split",
                     advice="Remove the copies: they count more than other samples.")  # fmt: skip


def _few(groups: list[list[str]]) -> list[str]:
    return [" = ".join(names[:KEPT]) for names in groups[:KEPT]]


def _patients(found: Found) -> Iterator[Warned]:
    for one, two in combinations(sorted(found.patients), 2):
        both = found.patients[one] & found.patients[two]
        if both:
            yield Warned(code="patients_across_splits", count=len(both), where=[one, two],
                         detail=f"{_n(len(both), 'patient')} in {one} and in {two}",
                         advice="Divide by patient: preprocess with random splits does.")  # fmt: skip


def _mixed(found: Found, options: InspectOptions) -> Iterator[Warned]:
    for axes in (2, 3):
        values = np.array([s for s, _ in found.spacings if len(s) == axes])
        if not len(values):
            continue
        low, high = values.min(axis=0), values.max(axis=0)
        names = [n for n, a, b in zip("zyx"[-axes:], low, high, strict=True) if b > options.spacing_factor * a]
        if names:
            told = ", ".join(f"{n} {low['zyx'[-axes:].index(n)]:.4g} to {high['zyx'[-axes:].index(n)]:.4g} mm"
                             for n in names)  # fmt: skip
            yield Warned(code="mixed_spacings", where=names, count=len(names),
                         detail=f"spacings differ by more than a factor of {options.spacing_factor:g}: {told}",
                         advice="Choose a recipe that resamples to one spacing.")  # fmt: skip
    axes_of = Counter(len(shape) for shape in found.shapes.elements())
    for code, what, counts, advice in (
        ("mixed_shapes", "shapes", found.shapes, "Recipes resize or tile to one size; look at what this does to the "
         "smallest and largest."),
        ("mixed_dimensions", "kinds of samples (images and volumes)", axes_of, "Make datasets of their own of them."),
        ("mixed_types", "types of values", found.types, "Check that all come from one export; 16-bit images are scaled "
         "by their own range."),
        ("mixed_channels", "numbers of channels", found.channels, "Grey and colour are brought to those of the "
         "modality; check that colour images are meant."),
    ):  # fmt: skip
        if len(counts) > 1:
            common = ", ".join(f"{_said(v)}: {n}" for v, n in counts.most_common(KEPT))
            yield Warned(code=code, count=len(counts), detail=f"{len(counts)} {what}: {common}", advice=advice)


def _said(value: object) -> str:
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _files(found: Found, planned: Planned) -> Iterator[Warned]:
    bad = planned.unreadable
    infinite = [b.path for b in bad if "NaN or infinite" in b.reason]
    for code, (what, advice) in _OF_FILES.items():
        names = found.odd[code] + (infinite if code == "not_finite" else [])
        if names:
            detail = f"{_n(len(names), 'sample')} {what}"
            yield Warned(code=code, count=len(names), where=names[:KEPT], detail=detail, advice=advice)
    others = [b.path for b in bad if b.path not in infinite]
    if others:
        yield Warned(code="unreadable", count=len(others), where=others[:KEPT],
                     detail=f"{_n(len(others), 'file')} cannot be read; the reasons are in the list of files",
                     advice="Mend or replace them, or leave them out.")  # fmt: skip
    without = found.odd["without_mask"]
    if found.masks and without:
        yield Warned(code="masks_missing", count=len(without), where=without[:KEPT],
                     detail=f"{_n(len(without), 'sample')} without a mask, {found.masks} with one",
                     advice="Add the masks, or leave these samples out of a segmentation.")  # fmt: skip
    if planned.orphans:
        yield Warned(code="masks_without_image", count=len(planned.orphans), where=planned.orphans[:KEPT],
                     detail=f"{_n(len(planned.orphans), 'file')} with the name of a mask and no image beside it",
                     advice="Check the names; they are counted as images here.")  # fmt: skip


def _classes(found: Found, options: InspectOptions) -> Iterator[Warned]:
    names = sorted({name for counts in found.classes.values() for name in counts})
    for split, total in sorted(found.splits.items()):
        counts = {name: found.classes[split][name] for name in names} if found.classes[split] else {}
        if total < options.few_samples:
            yield Warned(code="few_samples", where=[split], count=total, detail=f"{split} has {_n(total, 'sample')}",
                         advice="Scores of so few say little; add samples.")  # fmt: skip
        empty = [name for name, n in counts.items() if n == 0]
        if empty:
            yield Warned(code="empty_class", where=empty, count=len(empty),
                         detail=f"{split} has no sample of {', '.join(empty)}",
                         advice="Divide so that every class stands in every split.")  # fmt: skip
        few = [n for n, count in counts.items() if 0 < count < options.few_samples]
        if few and total >= options.few_samples:
            yield Warned(code="few_samples", where=few, count=len(few), advice="Add samples of these classes.",
                         detail=f"{split} has under {options.few_samples} samples of {', '.join(few)}")  # fmt: skip
        some = [n for n in counts.values() if n]
        if some and max(some) > options.imbalance * min(some):
            yield Warned(code="class_imbalance", where=[split], detail=f"the largest class of {split} has {max(some)} "
                         f"samples, the smallest {min(some)}", advice="Weigh the classes or collect more of the "
                         "smallest; judge by balanced scores, not by accuracy.")  # fmt: skip
        if found.classes[split] and found.unlabelled[split]:
            yield Warned(code="labels_missing", where=[split], count=found.unlabelled[split],
                         detail=f"{_n(found.unlabelled[split], 'sample')} of {split} without a class",
                         advice="A classifier leaves them out; label them, or accept this.")  # fmt: skip
