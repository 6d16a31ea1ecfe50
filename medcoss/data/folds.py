"""Cross-validation by patient: a prepared dataset whose splits train and val are divided anew into folds."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from medcoss.data.fingerprints import ORIGIN, fingerprint
from medcoss.data.shards import Sample
from medcoss.run import BadInput, RunContext
from medcoss.specs.records import TABLE, DatasetInfo

if TYPE_CHECKING:
    from sklearn.model_selection import StratifiedGroupKFold

DIVIDED = ("train", "val")
# the split of samples that take no part: no reader asks for it
APART = "apart"


def unit(sample: Sample) -> str:
    """Who a sample is of: the keyed hash of a patient, or its case where the dataset knows no patients."""
    return sample.patient or sample.group or sample.id


def folds_of(samples: Sequence[Sample], folds: int, seed: int, context: RunContext | None = None) -> dict[str, int]:
    """The fold of each unit of these samples, by the seed and the units alone, whatever order the samples come in.

    Folds hold about as many samples each, and of each class where the samples have classes and every class is large
    enough (scikit-learn's StratifiedGroupKFold). Raises BadInput when there are fewer units than folds.
    """
    # here, because it takes a second that trainings without folds need not wait for
    from sklearn.model_selection import StratifiedGroupKFold

    units = [unit(sample) for sample in samples]
    count = len(set(units))
    if count < folds:
        raise BadInput(
            f"the splits train and val hold {count} patients or cases with a target; expected at least one for each of "
            f"the {folds} folds; give fewer folds",
            "folds",
        )
    classes = np.array([max(sample.label, 0) for sample in samples])
    units_of: dict[int, set[str]] = {}
    for place, label in zip(units, classes.tolist(), strict=True):
        units_of.setdefault(label, set()).add(place)
    rare = sorted(label for label, members in units_of.items() if len(members) < folds)
    if rare and context is not None:
        context.log(f"classes {rare} have fewer patients or cases than folds: some folds hold none of them", "warning")
    if max(np.bincount(classes)) < folds:
        classes = np.zeros_like(classes)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    found: dict[str, int] = {}
    for fold, (_, held_out) in enumerate(_quietly(splitter, classes, units)):
        found.update((units[int(place)], fold) for place in held_out)
    return found


def _quietly(splitter: "StratifiedGroupKFold", classes: NDArray[np.int64],
             units: list[str]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:  # fmt: skip
    with warnings.catch_warnings():
        # of rare classes, the log has told already
        warnings.simplefilter("ignore", UserWarning)
        return list(splitter.split(np.zeros(len(units)), classes, units))


def leave_out(dataset: Path, folder: Path, fold: int, folds: int, seed: int, *, chooses: bool,
              context: RunContext | None = None) -> Path:  # fmt: skip
    """Write a dataset folder whose split test is one fold, val the next one if validation `chooses`, train the others.

    Images and masks are links to those of `dataset`; samples of its split test, and those without a class where there
    are classes, take no part. Returns `folder`. Raises BadInput as `folds_of` does.
    """
    info = DatasetInfo.model_validate_json((dataset / "meta.json").read_text())
    table = pq.read_table(dataset / TABLE)
    samples = [Sample(**row) for row in table.to_pylist()]
    labelled = info.classes is not None and not info.has_masks
    taking_part = [s for s in samples if s.split in DIVIDED and (s.label >= 0 or not labelled)]
    found = folds_of(taking_part, folds, seed, context)
    names = {fold: "test"} | ({(fold + 1) % folds: "val"} if chooses else {})
    taken = {id(sample) for sample in taking_part}
    splits = [names.get(found[unit(s)], "train") if id(s) in taken else APART for s in samples]
    folder.mkdir(parents=True)
    for path in dataset.iterdir():
        if path.name not in ("meta.json", TABLE):
            (folder / path.name).symlink_to(path.resolve())
    place = table.schema.get_field_index("split")
    pq.write_table(table.set_column(place, "split", pa.array(splits, pa.string())), folder / TABLE)
    counts = {name: splits.count(name) for name in ("train", "val", "test") if name in splits}
    meta = info.model_dump(mode="json") | {"splits": counts, "labelled": counts if labelled else info.labelled}
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    (folder / ORIGIN).write_text(fingerprint(dataset) or "")
    return folder
