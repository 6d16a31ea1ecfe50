"""Radiology reports in a CSV table with findings and impression (OpenI, MIMIC-CXR master tables).

Expected: one or more `*.csv` files, UTF-8, with the columns the recipe names. Samples are
cleaned captions (published rules); reports of fewer than `min_tokens` tokens are left out.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Kind
from medcoss.preprocess.captions import clean_caption
from medcoss.preprocess.inputs import Report, random_splits, raw_files, step
from medcoss.run import BadInput, RunContext
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.preprocess import OpeniReports, PreprocessOptions, Splits
from medcoss.specs.raw import SPLIT_NAMES
from medcoss.specs.records import BadFile, DatasetInfo

DEFAULT_SPLIT_COLUMN = OpeniReports.model_fields["split_column"].default


def _rows(path: Path, name: str, recipe: OpeniReports) -> list[dict[str, str]]:
    needed = [recipe.id_column, recipe.findings_column, recipe.impression_column]
    needed += [column for column in (recipe.label_column,) if column]
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            found = reader.fieldnames or []
            if recipe.split_column not in (None, DEFAULT_SPLIT_COLUMN):
                # the default may be absent, a column that somebody has named may not
                needed.append(recipe.split_column)
            missing = [column for column in needed if column not in found]
            if missing:
                raise BadInput(
                    f"the table has no column {', '.join(missing)}; found {', '.join(found) or 'no header'}"
                    f"{_separator(found)}",
                    name,
                )
            rows = [{key: value or "" for key, value in row.items() if key} for row in reader]
    except UnicodeDecodeError:
        raise BadInput("the table is not UTF-8 text; expected a CSV file in UTF-8", name) from None
    except csv.Error as error:
        raise BadInput(f"the table cannot be read ({error}); expected CSV", name) from error
    _check_splits(rows, name, recipe)
    return rows


def _check_splits(rows: list[dict[str, str]], name: str, recipe: OpeniReports) -> None:
    """Refuse split names that are not known: left to chance, held-out studies would be trained on."""
    unknown = sorted({value for row in rows if (value := _split_named(row, recipe)) and value not in SPLIT_NAMES})
    if unknown:
        raise BadInput(
            f"the column {recipe.split_column} holds {', '.join(unknown[:5])}; expected train, val, test or nothing: "
            "a seeded hash decides then, as it does for all with split_column null", name,
        )  # fmt: skip


def _split_named(row: dict[str, str], recipe: OpeniReports) -> str:
    return row.get(recipe.split_column or "", "").strip().lower()


def _separator(header: Sequence[str]) -> str:
    """What to do about a table whose whole header is one column."""
    for mark, word in ((";", "';'"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            return f". It looks separated by {word}, commas are expected: save it as comma-separated"
    return ""


def _split_of(row: dict[str, str], recipe: OpeniReports, chosen: dict[str, str]) -> str:
    return SPLIT_NAMES.get(_split_named(row, recipe)) or chosen[row[recipe.id_column]]


def build(spec: PreprocessOptions, recipe: OpeniReports, raw: Path, writer: ShardWriter, report: Report,
          context: RunContext) -> DatasetInfo:  # fmt: skip
    """Write one sample for each usable report of the tables below `raw` and describe the dataset."""
    files = raw_files(raw)
    tables = [path for path in files if path.lower().endswith(".csv")]
    report.ignored = [path for path in files if path not in tables]
    report.inputs = len(tables)
    rows: list[tuple[str, dict[str, str]]] = []
    for path in tables:
        try:
            rows += [(path, row) for row in _rows(raw / path, path, recipe)]
        except BadInput as error:
            report.reject(path, error)
    chosen = random_splits((row[recipe.id_column] for _, row in rows), Splits(method="random"), spec.seed)
    label_column = recipe.label_column
    classes = sorted({row[label_column] for _, row in rows if row[label_column]}) if label_column else []
    for done, (path, row) in enumerate(rows):
        if done % 100 == 0:
            step(context, done, len(rows), path)
        study = row[recipe.id_column]
        caption = clean_caption(row[recipe.impression_column], row[recipe.findings_column], recipe.min_tokens)
        if caption is None:
            report.left_out.append(BadFile(path=f"{path}#{study}", reason=f"fewer than {recipe.min_tokens} tokens"))
            continue
        label = classes.index(row[label_column]) if label_column and row[label_column] else -1
        split = _split_of(row, recipe, chosen)
        writer.add(Sample(id=f"{len(writer):07d}", split=split, source=path, group=study, label=label, text=caption))
    return DatasetInfo(
        modality=recipe.modality,
        kind=Kind.TEXT,
        samples=len(writer),
        splits=writer.split_counts(),
        labelled=writer.labelled_counts(),
        classes=classes or None,
        sample_shape=[REPORT_LENGTH],
        recipe=recipe.model_dump(mode="json"),
    )
