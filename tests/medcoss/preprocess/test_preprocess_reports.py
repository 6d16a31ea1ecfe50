"""Tables of reports to samples."""

from pathlib import Path

import pytest

from medcoss.run import BadInput
from medcoss.specs.preprocess import OpeniReports
from tests.medcoss.preprocess.files import Prepare, put


def test_real_reports(raw: Path, real_data: Path, prepare: Prepare) -> None:
    lines = (real_data / "reports" / "reports.csv").read_text(encoding="utf-8").splitlines(keepends=True)[:300]
    put(raw / "reports.csv", "".join(lines).encode())
    reader, report = prepare(OpeniReports())
    assert set(reader.info.splits) == {"train", "val", "test"}
    assert reader.info.splits["train"] > reader.info.splits["test"]
    assert len(reader) + len(report["left_out"]) == 299
    for entry in report["left_out"]:
        assert entry["path"].startswith("reports.csv#")
    for i in range(len(reader)):
        text = reader.text(i)
        assert text == text.lower()
        assert text.isascii()
        assert len(text.split()) >= 3


def test_held_out_reports_are_not_left_to_chance(raw: Path, prepare: Prepare) -> None:
    def table(*splits: str) -> None:
        rows = [f"s{i},The heart is large.,Stable.,{split}" for i, split in enumerate(splits)]
        put(raw / "a.csv", "\n".join(["study_id,findings,impression,split", *rows]).encode())

    table("train", "validate", "test", "DEV")
    reader, _ = prepare(OpeniReports())
    assert [row.split for row in reader.rows] == ["train", "val", "test", "val"]
    table("train", "fold1", "")
    with pytest.raises(BadInput, match="the column split holds fold1; expected train, val, test or nothing"):
        prepare(OpeniReports())
    with pytest.raises(BadInput, match="no column Split"):
        prepare(OpeniReports(split_column="Split"))


def test_report_labels_and_hashed_splits(raw: Path, prepare: Prepare) -> None:
    rows = ["id,findings,impression,finding"]
    rows += [f"s{i},The heart is large. No effusion.,Stable.,{'sick' if i % 2 else 'well'}" for i in range(40)]
    rows += ["s99,The heart is large.,,"]
    put(raw / "a.csv", "\n".join(rows).encode("utf-8-sig"))
    recipe = OpeniReports(id_column="id", label_column="finding")
    reader, _ = prepare(recipe)
    assert reader.info.classes == ["sick", "well"]
    assert reader.info.splits == {"train": 33, "val": 4, "test": 4}
    assert reader.text(0) == "the heart is large no effusion"
    assert [row.label for row in reader.rows[:2]] == [1, 0]
    assert reader.rows[-1].label == -1
    again, _ = prepare(recipe)
    assert [row.split for row in again.rows] == [row.split for row in reader.rows]


def test_bad_tables_are_named(raw: Path, prepare: Prepare) -> None:
    put(raw / "good.csv", b"study_id,findings,impression\n1,The lungs are clear today.,Normal.\n")
    put(raw / "columns.csv", b"id,text\n1,abc\n")
    put(raw / "latin.csv", "study_id,findings,impression\n1,Ödem,x\n".encode("latin-1"))
    put(raw / "empty.csv", b"")
    put(raw / "semicolons.csv", b"study_id;findings;impression\n1;a;b\n")
    reader, report = prepare(OpeniReports(), max_bad_fraction=0.8)
    assert len(reader) == 1
    reasons = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    assert "no column study_id, findings, impression; found id, text" in reasons["columns.csv"]
    assert "UTF-8" in reasons["latin.csv"]
    assert "no header" in reasons["empty.csv"]
    assert reasons["semicolons.csv"].endswith(
        "found study_id;findings;impression. It looks separated by ';', commas are expected: save it as comma-separated"
    )
