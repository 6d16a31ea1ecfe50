"""Whose data a model has seen, and whether some of it is what the model is to be measured on.

A patient is the keyed hash in the column `patient` of a dataset's table. A model folder holds `patients.parquet`: the
patients that its training has seen, with the dataset they came by, through all stages, buffers and fine-tunings.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medcoss.run import BadInput, RunContext
from medcoss.specs.records import Leakage

SEEN = "patients.parquet"
HELD_OUT = ("val", "test")
# rows that are read at once: memory grows with the patients, not with the samples
_ROWS = 65536


@dataclass(frozen=True)
class Seen:
    """Pairs of patient and dataset, and what is not known: datasets without patients, models without records."""

    pairs: frozenset[tuple[str, str]] = frozenset()
    unknown: frozenset[str] = frozenset()

    def __or__(self, other: "Seen") -> "Seen":
        return Seen(self.pairs | other.pairs, self.unknown | other.unknown)


def title(folder: Path) -> str:
    """What a dataset or model is called by its folder, which is its id on the platform."""
    return folder.parent.name if folder.name in ("dataset", "model") else folder.name


def patients(folder: Path, splits: Iterable[str] | None = None) -> set[str]:
    """Patients of a prepared dataset, of all splits or of these; without those that are not known."""
    wanted, found = None if splits is None else {*splits}, set[str]()
    table = pq.ParquetFile(folder / "samples.parquet")
    if "patient" not in table.schema_arrow.names:
        return found
    for batch in table.iter_batches(_ROWS, columns=["split", "patient"]):
        rows = zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)
        found.update(patient for split, patient in rows if patient and (wanted is None or split in wanted))
    return found


def of_training(folder: Path, name: str, splits: Iterable[str] | None = ("train",)) -> Seen:
    """What a training sees of a dataset; `splits` None takes all, as of buffers."""
    found = patients(folder, splits)
    return Seen(frozenset((patient, name) for patient in found), frozenset() if found else frozenset([name]))


def of_model(folder: Path | None) -> Seen:
    """What a model has seen; None has seen nothing, a model without a record is unknown."""
    if folder is None:
        return Seen()
    if not (folder / SEEN).is_file():
        return Seen(unknown=frozenset([f"the model {title(folder)}"]))
    table = pq.read_table(folder / SEEN).to_pylist()
    return Seen(
        frozenset((row["patient"], row["dataset"]) for row in table if row["patient"]),
        frozenset(row["dataset"] for row in table if not row["patient"]),
    )


def write(seen: Seen, folder: Path) -> None:
    """Write `patients.parquet`, sorted; what is unknown has an empty patient."""
    rows = sorted(seen.pairs | {("", name) for name in seen.unknown})
    columns = {"patient": [p for p, _ in rows], "dataset": [name for _, name in rows]}
    schema = pa.schema([("patient", pa.string()), ("dataset", pa.dictionary(pa.int32(), pa.string()))])
    pq.write_table(pa.table(columns, schema), folder / SEEN)


def overlap(seen: Seen, measured: Iterable[str]) -> tuple[int, Mapping[str, int]]:
    """How many of the patients `measured` have been seen, and how many of them by each dataset."""
    held_out = {*measured}
    hits = [(patient, name) for patient, name in seen.pairs if patient in held_out]
    return len({patient for patient, _ in hits}), dict(sorted(Counter(name for _, name in hits).items()))


def check_leakage(seen: Seen, folder: Path, name: str, allowed: str | None, context: RunContext | None,
                  splits: Iterable[str] = HELD_OUT) -> Leakage | None:  # fmt: skip
    """Refuse to measure on patients that have been seen; `folder` is the dataset whose `splits` are measured on.

    Returns what was allowed, None where nothing overlaps. Says in the log what could not be compared; `context` is None
    for processes that say nothing. Raises BadInput with the count and the datasets, unless there is a reason `allowed`.
    """
    splits = [*splits]
    measured = patients(folder, splits)
    count, datasets = overlap(seen, measured)
    if context and seen.unknown and measured:
        context.log(
            f"leakage cannot be told for {', '.join(sorted(seen.unknown))}: no patients are on record", "warning"
        )
    if not count:
        return None
    where = f"{' and '.join(splits)} of {name}"
    listed = ", ".join(f"{number} in {one}" for one, number in datasets.items())
    if not allowed:
        raise BadInput(
            f"{count} of the {len(measured)} patients in {where}, which it is measured on, have been trained on "
            f"({listed}); divide the datasets anew, or give allow_leakage a reason", "dataset",
        )  # fmt: skip
    if context:
        context.log(
            f"leakage allowed: {count} patients in {where} have been trained on ({listed}): {allowed}", "warning"
        )
    return Leakage(reason=allowed, patients=count, datasets=dict(datasets), measured_on=where)
