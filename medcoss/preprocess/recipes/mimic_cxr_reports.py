"""Radiology reports of MIMIC-CXR 2.0 (Johnson et al., https://physionet.org/content/mimic-cxr/, credentialed licence).

Expected layout, at any depth:

- `files/p10/p10000032/s50414267.txt`, one report a study, with `mimic-cxr-2.0.0-split.csv.gz` and
  `mimic-cxr-2.0.0-metadata.csv.gz` of MIMIC-CXR-JPG (gzipped or not),
- or MGCA's `master.csv` alone, a row an image: dicom_id, subject_id, study_id, ViewPosition, impression, findings,
  split.

Impression and findings are found by their headings; where there is neither, the last paragraph stands for them.
Studies without a frontal view (PA, AP) and reports of fewer than `min_tokens` tokens are left out, a study counts
once however many images it has, splits are the published ones, the patient is the subject. Samples are captions,
cleaned by the published rules; a tokenizer cuts and pads them to 112 tokens.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from medcoss.modalities import Kind
from medcoss.preprocess.captions import clean_caption
from medcoss.preprocess.mimic_cxr import COHORT, MASTER, bare, find_table, radiographs
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.report_sections import impression_and_findings
from medcoss.preprocess.tables import read_table
from medcoss.run import BadInput
from medcoss.specs.encoder import REPORT_LENGTH
from medcoss.specs.recipes.mimic_cxr_reports import MimicCxrReports

_NOT_FRONTAL = "the study has no frontal view (PA or AP)"


def describe(spec: MimicCxrReports) -> Described:
    """Captions."""
    return Described(Kind.TEXT, (REPORT_LENGTH,), cohort=COHORT)


def plan(spec: MimicCxrReports, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every study with a frontal view."""
    master = find_table(raw, MASTER)
    yield from _from_master(raw, master) if master else _from_files(raw)


def make(spec: MimicCxrReports, item: Item, raw: Raw) -> Iterator[Made]:
    """The cleaned caption."""
    parts = item.data or impression_and_findings(_text(raw, item.name))
    caption = clean_caption(*parts, spec.min_tokens)
    if caption is None:
        raise LeftOut(item.name, f"impression and findings have fewer than {spec.min_tokens} tokens")
    yield Made(text=caption)


def captioned(text: str, spec: MimicCxrReports) -> str:
    """The caption of a whole report; serving does the same. Raises BadInput."""
    caption = clean_caption(*impression_and_findings(text), spec.min_tokens)
    if caption is None:
        raise BadInput(f"impression and findings have fewer than {spec.min_tokens} words; expected a report", "text")
    return caption


def _from_files(raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    studies: dict[str, tuple[str, str, bool]] = {}
    for image in radiographs(raw):
        frontal = image.frontal or studies.get(image.study, ("", "", False))[2]
        studies[image.study] = (image.subject, image.split, frontal)
    for path in raw.files((".txt",)):
        study = bare(PurePosixPath(path).stem)
        if not study.isdigit():
            # licences and check sums lie beside the reports
            continue
        if study not in studies:
            yield Rejected(path, "the study is in no row of the split and metadata tables; expected the tables of this "
                           "version of the dataset")  # fmt: skip
            continue
        subject, split, frontal = studies[study]
        if frontal:
            yield Item(path, (path,), patient=subject, split=split)
        else:
            yield LeftOut(path, _NOT_FRONTAL)


def _from_master(raw: Raw, table: str) -> Iterator[Item | LeftOut]:
    taken, lateral = set[str](), set[str]()
    rows = read_table(raw, table, ["impression", "findings"])
    for image, row in zip(radiographs(raw), rows, strict=True):
        if image.frontal and image.study not in taken:
            taken.add(image.study)
            yield Item(
                f"{table}#s{image.study}", patient=image.subject, split=image.split,
                data=[row["impression"], row["findings"]],
            )  # fmt: skip
        elif not image.frontal:
            lateral.add(image.study)
    for study in sorted(lateral - taken):
        yield LeftOut(f"{table}#s{study}", _NOT_FRONTAL)


def _text(raw: Raw, path: str) -> str:
    try:
        text = raw.read(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput("the report is not UTF-8 text; expected a text file in UTF-8", path) from None
    if not text.strip():
        raise BadInput("the report is empty; expected text", path)
    return text
