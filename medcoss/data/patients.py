"""Whose data a model has seen, and whether some of it is what the model is to be measured on.

A patient is the keyed hash in the column `patient` of a dataset's table. A model folder holds `patients.parquet`: the
patients that its training has seen, with the dataset they came by, through all stages, buffers and fine-tunings.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medcoss.run import BadInput, RunContext
from medcoss.specs.records import TABLE, Leakage
from medcoss.specs.training import LeakageOptions

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
    table = pq.ParquetFile(folder / TABLE)
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


def datasets_of(folder: Path) -> set[str]:
    """The datasets and buffers that a model and those before it were trained on, as far as they are on record."""
    if not (folder / SEEN).is_file():
        return set()
    return set(pq.read_table(folder / SEEN, columns=["dataset"]).column(0).unique().to_pylist())


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


def called(spec: LeakageOptions, dataset_dir: Path) -> str:
    """The name of the dataset of a job: its id on the platform, its folder's elsewhere."""
    return getattr(spec, "dataset", title(dataset_dir))


def held_out(spec: LeakageOptions, dataset_dir: Path, others: Sequence[Path]) -> list[tuple[str, Path]]:
    """Names and folders of what a training is measured on: its own dataset, and the `others` of `measured_on`."""
    names = getattr(spec, "measured_on", [title(folder) for folder in others])
    return [(called(spec, dataset_dir), dataset_dir), *zip(names, others, strict=True)]


def check_leakage(seen: Seen, measured: Sequence[tuple[str, Path]], allowed: str | None, context: RunContext | None,
                  splits: Iterable[str] = HELD_OUT) -> list[Leakage]:  # fmt: skip
    """Refuse to measure on patients that have been seen; `measured` names datasets whose `splits` are measured on, the
    one of the field `dataset` first.

    Returns what was allowed, nothing where nothing overlaps. Says in the log what could not be compared; `context` is
    None for processes that say nothing. Raises BadInput with the counts and the datasets, unless there is a reason
    `allowed`.
    """
    splits, said, found, unknown = [*splits], list[str](), list[Leakage](), set[str]()
    own = False
    for place, (name, folder) in enumerate(measured):
        where, wanted = f"{' and '.join(splits)} of {name}", patients(folder, splits)
        # a dataset without such splits is only wrong where it was named for them
        unknown |= seen.unknown if wanted else {where} if place else set()
        count, datasets = overlap(seen, wanted)
        listed = ", ".join(f"{number} in {one}" for one, number in datasets.items())
        sentence = f"{count} of the {len(wanted)} patients in {where}, which it is measured on, have been trained on"
        # the dataset of the job may be named once more
        if count and f"{sentence} ({listed})" not in said:
            said.append(f"{sentence} ({listed})")
            own = own or not place
            found.append(Leakage(reason=allowed or "", patients=count, datasets=dict(datasets), measured_on=where))
    if context and unknown:
        context.log(f"leakage cannot be told for {', '.join(sorted(unknown))}: no patients are on record", "warning")
    if said and not allowed:
        problem = f"{'; '.join(said)}; divide the datasets anew, or give allow_leakage a reason"
        raise BadInput(problem, "dataset" if own else "measured_on")
    if said and context:
        context.log(f"leakage allowed: {'; '.join(said)}: {allowed}", "warning")
    return found
