"""Images with a table of labels, or in class folders."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from medcoss.run import BadInput
from medcoss.specs.preprocess import Splits
from medcoss.specs.recipes.labelled_image_folder import LabelledImageFolder
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

RNG = np.random.default_rng(13)


def picture() -> bytes:
    return image_bytes(RNG.integers(0, 255, (20, 30), dtype=np.uint8))


def test_a_table_gives_labels_patients_and_splits(raw: Path, prepare: Prepare) -> None:
    rows = ["file,label,person,fold"]
    for i in range(24):
        put(raw / "study" / "img" / f"{i}.png", picture())
        rows.append(f"img/{i}.png,{('sick', 'well')[i % 2]},P{i // 3},{'TEST' if i < 3 else ''}")
    rows += ["img/none.png,sick,P50,", "../../etc/passwd,sick,P51,", "img/0.png,,P0,test", "img/1.png,well,,test",
             "img/5.png,well,P1,"]  # fmt: skip
    put(raw / "study" / "labels.csv", "\n".join(rows).encode())
    put(raw / "study" / "img" / "unlisted.png", picture())
    spec = LabelledImageFolder(size=(32, 32), table="study/labels.csv", patient_column="person", split_column="fold",
                               splits=Splits(method="random", val_fraction=0.3, test_fraction=0.0))  # fmt: skip
    reader, report = prepare(spec)
    assert reader.info.classes == ["sick", "well"]
    sides = defaultdict(set)
    for row in reader.rows:
        number = int(Path(row.source).stem)
        assert row.label == number % 2
        assert (row.split == "test") == (number < 3)
        sides[row.patient].add(row.split)
    assert len(sides) == 8
    assert all(len(found) == 1 for found in sides.values())
    assert reader.info.splits["val"] >= 3
    reasons = [entry["reason"] for entry in report["bad_files"]]
    assert sorted(reason.split(";")[0] for reason in reasons) == [
        "the column label of study/labels.csv is empty", "the column person of study/labels.csv is empty",
        "there is no such file in the dataset", "this names a file outside the dataset"]  # fmt: skip
    assert report["ignored"] == ["study/img/unlisted.png"]
    assert [(one["path"], one["reason"]) for one in report["left_out"]] == [
        ("study/img/5.png", "an earlier row of study/labels.csv names it, too")]  # fmt: skip


def test_class_folders(raw: Path, prepare: Prepare) -> None:
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png"):
        put(raw / name, picture())
    spec = LabelledImageFolder(size=(32, 32), table=None, modality="pathology", splits=Splits(method="folders"))
    reader, _ = prepare(spec)
    assert [(row.source, row.label, row.split) for row in reader.rows] == [
        ("test/a/3.png", 0, "test"), ("train/a/1.png", 0, "train"), ("train/b/2.png", 1, "train")]  # fmt: skip
    assert reader.info.sample_shape == [3, 32, 32]


def test_tables_that_say_too_little_are_refused(raw: Path, prepare: Prepare) -> None:
    put(raw / "1.png", picture())
    with pytest.raises(
        BadInput, match=r"there is no table labels\.csv; add it, name another one by the parameter table, or give null"
    ):
        prepare(LabelledImageFolder())
    put(raw / "labels.csv", b"file,label,fold\n1.png,a,fold3\n")
    with pytest.raises(BadInput, match=r"no column class; found file, label, fold"):
        prepare(LabelledImageFolder(label_column="class"))
    with pytest.raises(BadInput, match=r"the column fold holds 'fold3'; expected train, val, test or nothing"):
        prepare(LabelledImageFolder(split_column="fold"))
