"""MIMIC-CXR reports: sections, frontal studies, published splits, one cohort."""

import gzip
from pathlib import Path

import pytest

from medcoss.preprocess.report_sections import impression_and_findings
from medcoss.preprocess.serving import ServingPipeline
from medcoss.run import BadInput
from medcoss.specs.recipes.mimic_cxr_reports import MimicCxrReports
from tests.medcoss.preprocess.files import Prepare, put
from tests.medcoss.preprocess.mimic_files import put_tables

NEW = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with cough  // ?pneumonia

 COMPARISON:  ___.

 FINDINGS:

 There is no focal consolidation, pleural effusion or pneumothorax.
 Heart size: normal at 10:25 today.

 IMPRESSION:

 1. No acute cardiopulmonary process.
"""
OLD = """                                 FINAL REPORT
 AP CHEST, 10:25 A.M. ON ___

 HISTORY:  Fever.

 The lungs are clear. Heart is enlarged.

 Tubes are in place.
"""
VIEWS = """                                 FINAL REPORT
 HISTORY:  Fall.

 PORTABLE AP CHEST RADIOGRAPH:  Lungs are hyperinflated.

 CONCLUSION:  Emphysema.
"""


def test_sections_are_told_by_their_headings() -> None:
    assert impression_and_findings(NEW) == (
        "1. No acute cardiopulmonary process.",
        "There is no focal consolidation, pleural effusion or pneumothorax.\n Heart size: normal at 10:25 today.",
    )
    assert impression_and_findings(OLD) == ("The lungs are clear. Heart is enlarged.\n\n Tubes are in place.", "")
    assert impression_and_findings(VIEWS) == ("Emphysema.", "Lungs are hyperinflated.")
    assert impression_and_findings("Findings: Clear.\r\nImpression: Normal chest.") == ("Normal chest.", "Clear.")
    assert impression_and_findings(" FINAL REPORT\n The lungs are clear.") == ("The lungs are clear.", "")
    assert impression_and_findings("IMPRESSION:\n\nADDENDUM: see above.\n") == ("", "")
    assert impression_and_findings("COMPARISON RADIOGRAPHS:  None.\n\n Clear.\n") == ("Clear.", "")
    assert impression_and_findings("FINAL REPORT\n") == ("", "")


def test_files_and_tables_as_published(raw: Path, prepare: Prepare) -> None:
    put_tables(raw, [
        ("aa-1", "10000032", "50414267", "PA", "train"), ("aa-2", "10000032", "50414267", "LATERAL", "train"),
        ("bb-1", "10000980", "50985099", "AP", "validate"), ("cc-1", "11000011", "51000001", "LL", "test"),
        ("dd-1", "11000012", "51000002", "AP", "test"), ("ee-1", "11000012", "51000003", "AP", "test"),
        ("ff-1", "11000013", "51000004", "PA", "train"),
    ])  # fmt: skip
    reports = {
        "p10/p10000032/s50414267": NEW.encode(), "p10/p10000980/s50985099": OLD.encode(),
        "p11/p11000011/s51000001": NEW.encode(), "p11/p11000012/s51000002": b"FINDINGS: \xff\xfe broken",
        "p11/p11000012/s51000003": VIEWS.encode(), "p11/p11000013/s51000004": b"IMPRESSION:  Normal.\n",
        "p11/p11000014/s51000005": NEW.encode(), "p11/p11000013/s51000006": b"",
    }  # fmt: skip
    for name, content in reports.items():
        put(raw / "files" / f"{name}.txt", content)
    put(raw / "LICENSE.txt", b"text")
    reader, report = prepare(MimicCxrReports())
    assert {row.source[-13:]: row.split for row in reader.rows} == {
        "s50414267.txt": "train", "s50985099.txt": "val", "s51000003.txt": "test"}  # fmt: skip
    assert reader.text(0) == (
        "no acute cardiopulmonary process there is no focal consolidation pleural effusion or pneumothorax "
        "heart size normal at 10 25 today"
    )
    reasons = {Path(e["path"]).stem: e["reason"] for e in report["bad_files"]}
    assert sorted(reasons) == ["s51000002", "s51000005", "s51000006"]
    assert "not UTF-8" in reasons["s51000002"]
    assert "in no row" in reasons["s51000005"]
    left_out = {Path(e["path"]).stem: e["reason"] for e in report["left_out"]}
    assert left_out == {"s51000001": "the study has no frontal view (PA or AP)",
                        "s51000004": "impression and findings have fewer than 3 tokens"}  # fmt: skip
    assert report["ignored"] == ["LICENSE.txt"]
    step = ServingPipeline(reader.info.recipe, reader.info.kind)._step("captioned")
    assert step(NEW, MimicCxrReports()) == reader.text(0)


def test_the_master_table_makes_the_same_captions(raw: Path, prepare: Prepare) -> None:
    put(raw / "master.csv", (
        b"Path,dicom_id,subject_id,study_id,ViewPosition,impression,findings,split\n"
        b'files/p10/x.jpg,aa-1,10000032,s50414267,PA,1. No acute process.,"Heart is normal.\nLungs clear.",train\n'
        b"files/p10/y.jpg,aa-2,10000032,s50414267,AP,1. No acute process.,Heart,train\n"
        b"files/p11/z.jpg,bb-1,10000980,s50985099,PA, ,Clear lungs seen.,valid\n"
        b"files/p11/w.jpg,cc-1,10000981,s50985100,LATERAL,Seen from aside.,,valid\n"
    ))  # fmt: skip
    reader, report = prepare(MimicCxrReports())
    assert [(reader.text(i), row.split) for i, row in enumerate(reader.rows)] == [
        ("no acute process heart is normal lungs clear", "train"), ("clear lungs seen", "val")]  # fmt: skip
    assert [entry["path"] for entry in report["left_out"]] == ["master.csv#s50985100"]


def test_missing_tables_are_named(raw: Path, prepare: Prepare) -> None:
    put(raw / "files" / "p10" / "p10000032" / "s50414267.txt", NEW.encode())
    with pytest.raises(BadInput, match=r"no table mimic-cxr-2.0.0-split.csv.gz"):
        prepare(MimicCxrReports())
    put(raw / "mimic-cxr-2.0.0-split.csv.gz", gzip.compress(b"dicom_id,study_id,subject_id,split\na,1,1,fold1\n"))
    with pytest.raises(BadInput, match="the column split holds 'fold1'; expected train, validate or test"):
        prepare(MimicCxrReports())
