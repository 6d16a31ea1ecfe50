"""Parts to one dataset and one report."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Modality
from medcoss.preprocess.engine.parts import in_order
from medcoss.preprocess.engine.plan import Plan, Planned
from medcoss.preprocess.engine.records import End, StoredSample, read_records
from medcoss.specs.preprocess import PreprocessOptions
from medcoss.specs.records import BadFile, DatasetInfo

# the report has them all
LISTED_BAD = 1000


def assemble(plan: Plan, parts: Iterable[Path], writer: ShardWriter, spec: PreprocessOptions) -> DatasetInfo:
    """Write the samples of all parts, in the order of the plan, and describe them; the writer stays open.

    What went wrong, what was found twice and what `spec` leaves out as erased is noted in the plan. The others stay in
    the splits that they would be in with it.
    """
    erased, files = frozenset(spec.without_patients), frozenset(spec.without_files)
    labels = {name: index for index, name in enumerate(plan.classes())}
    findings: Any = None
    for planned, end, samples in finished(plan, parts):
        if end.state != "made":
            plan.note(end.state, end.path, end.reason)
            continue
        findings = end.findings
        item, patient = planned.item, planned.patient or plan.content_key(end.digest)
        if patient in erased or not files.isdisjoint((item.name, *item.files)):
            plan.note("left_out", item.name, "erased")
            continue
        plan.note_content(planned, end.digest)
        for sample in samples:
            row = Sample(
                id=f"{len(writer):07d}", split=planned.split, source=item.name, group=item.group or item.name,
                patient=patient, label=-1 if item.label is None else labels[item.label], **sample.row,
            )  # fmt: skip
            writer.add_compressed(row, sample.chunks)
            if sample.original is not None:
                writer.add_original(row.group, *sample.original)
    described = plan.described
    return DatasetInfo(
        modality=plan.spec.modality_name,
        declared=plan.spec.modality if isinstance(plan.spec.modality, Modality) else None,
        kind=described.kind,
        samples=len(writer),
        splits=writer.split_counts(),
        labelled=writer.labelled_counts(),
        classes=plan.classes() or None,
        has_masks=described.has_masks,
        sample_shape=list(described.shape),
        recipe=plan.spec.model_dump(mode="json"),
        findings=findings,
        bad_files=[BadFile(path=path, reason=reason) for path, reason in plan.notes("bad", LISTED_BAD)],
    )


def finished(plan: Plan, parts: Iterable[Path]) -> Iterator[tuple[Planned, End, list[StoredSample]]]:
    """Every item with its end and its samples; raises ValueError when the parts do not hold all items."""
    items, samples, count = plan.items(), list[StoredSample](), 0
    for path in in_order(parts):
        with path.open("rb") as file:
            for record in read_records(file):
                if isinstance(record, StoredSample):
                    samples.append(record)
                    continue
                planned = next(items)
                if planned.number != record.item:
                    raise ValueError(f"{path.name} holds item {record.item} where {planned.number} was expected")
                yield planned, record, samples
                samples, count = [], count + 1
    if count != plan.count:
        raise ValueError(f"the parts hold {count} of {plan.count} items")


def warnings(plan: Plan) -> list[str]:
    """What a user should know of the dataset as a whole; no identifiers."""
    found = []
    if divided := plan.divided():
        found.append(
            f"{divided} patients or groups stand in more than one of the published splits: what is measured on the "
            "later ones is too good; use random splits, which keep patients whole, if that matters"
        )
    options = [name for name in ("patient_column", "patient_pattern") if name in type(plan.spec).model_fields]
    if options and (unknown := plan.unknown_patients()):
        found.append(
            f"{unknown} of {plan.count} inputs tell no patient, each file counts as a patient of its own: if a patient "
            f"has several, the splits divide him; give {' or '.join(options)}"
        )
    across = plan.noted("duplicate_across_splits")
    if across:
        path, reason = next(plan.notes("duplicate_across_splits", 1))
        found.append(f"{across} inputs have the content of one in another split, e.g. {path}: {reason}")
    return found


def write_report(plan: Plan, info: DatasetInfo | None, path: Path) -> None:
    """Write the report: what became of every input that made no sample, and what stands out.

    `info` None: no sample was made.
    """
    lists = {"bad_files": ("bad",), "left_out": ("left_out",),
             "duplicates": ("duplicate", "duplicate_across_splits")}  # fmt: skip
    with path.open("w", encoding="utf-8") as file:
        samples, splits = (info.samples, info.splits) if info else (0, {})
        head = {"inputs": inputs(plan), "samples": samples, "splits": splits, "warnings": warnings(plan)}
        file.write(json.dumps(head, indent=1)[:-2])
        for name, kinds in lists.items():
            entries = (json.dumps({"path": p, "reason": reason}) for kind in kinds for p, reason in plan.notes(kind))
            _write_list(file, name, entries)
        _write_list(file, "ignored", (json.dumps(p) for p, _ in plan.notes("ignored")))
        file.write("\n}\n")


def _write_list(file: IO[str], name: str, entries: Iterator[str]) -> None:
    file.write(f',\n "{name}": [')
    for number, entry in enumerate(entries):
        file.write(f"{',' if number else ''}\n  {entry}")
    file.write("]")


def inputs(plan: Plan) -> int:
    """How many inputs there are: the items, and what was refused or left out before it became one."""
    return plan.count + plan.rejected
