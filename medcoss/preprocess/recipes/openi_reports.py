"""Radiology reports in a CSV table with findings and impression (OpenI, MIMIC-CXR master tables).

Expected: one or more `*.csv` files, UTF-8, with the columns the recipe names. Samples are
cleaned captions (published rules); reports of fewer than `min_tokens` tokens are left out.
"""

from collections.abc import Iterator

from medcoss.modalities import Kind
from medcoss.preprocess.captions import clean_caption
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.tables import read_table
from medcoss.run import BadInput
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.names import SPLIT_NAMES
from medcoss.specs.recipes.openi_reports import OpeniReports

DEFAULT_SPLIT_COLUMN = OpeniReports.model_fields["split_column"].default


def describe(spec: OpeniReports) -> Described:
    """Captions."""
    return Described(Kind.TEXT, (REPORT_LENGTH,), cohort=spec.cohort)


def plan(spec: OpeniReports, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every row of every table that can be used."""
    for path in raw.files(spec.suffixes):
        try:
            _check(spec, raw, path)
        except BadInput as error:
            yield Rejected(path, error.message)
            continue
        odd = list[tuple[int, str]]()
        for row in read_table(raw, path, (), odd=lambda *found, odd=odd: odd.append(found)):  # type: ignore[misc]
            study = row[spec.id_column]
            patient = row[spec.patient_column].strip() if spec.patient_column else None
            if patient == "":
                yield Rejected(f"{path}#{study}", f"the column {spec.patient_column} is empty; expected a patient")
                continue
            yield Item(
                f"{path}#{study}", group=study, patient=patient, split=SPLIT_NAMES.get(_split_named(row, spec)),
                label=(row[spec.label_column] or None) if spec.label_column else None,
                data=[row[spec.impression_column], row[spec.findings_column]],
            )  # fmt: skip
        yield from (Rejected(f"{path}#line {line}", reason) for line, reason in odd)


def make(spec: OpeniReports, item: Item, raw: Raw) -> Iterator[Made]:
    """The cleaned caption."""
    caption = clean_caption(*item.data, spec.min_tokens)
    if caption is None:
        raise LeftOut(item.name, f"fewer than {spec.min_tokens} tokens")
    yield Made(text=caption)


def captioned(text: str, spec: OpeniReports) -> str:
    """The caption of a report whose parts are not told apart; serving does the same. Raises BadInput."""
    caption = clean_caption(text, "", spec.min_tokens)
    if caption is None:
        raise BadInput(f"the report has fewer than {spec.min_tokens} words; expected a report", "text")
    return caption


def _check(spec: OpeniReports, raw: Raw, path: str) -> None:
    """Refuse what cannot be read, and split names that are not known: left to chance, held-out studies would be
    trained on.
    """
    needed = [spec.id_column, spec.findings_column, spec.impression_column]
    needed += [column for column in (spec.label_column, spec.patient_column) if column]
    if spec.split_column not in (None, DEFAULT_SPLIT_COLUMN):
        # the default may be absent, a column that somebody has named may not
        needed.append(spec.split_column)
    rows, surplus = 0, list[int]()
    found = set[str]()
    for row in read_table(raw, path, needed, odd=lambda line, _: surplus.append(line)):
        rows += 1
        found.add(_split_named(row, spec))
    if not rows and not surplus:
        raise BadInput("the table has no rows below its header; expected a report a row", path)
    unknown = sorted(found - {"", *SPLIT_NAMES})
    if unknown:
        raise BadInput(
            f"the column {spec.split_column} holds {', '.join(unknown[:5])}; expected train, val, test or nothing: "
            "a seeded hash decides then, as it does for all with split_column null", path,
        )  # fmt: skip


def _split_named(row: dict[str, str], spec: OpeniReports) -> str:
    return row.get(spec.split_column or "", "").strip().lower()
