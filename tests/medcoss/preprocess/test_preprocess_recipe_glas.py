"""GlaS: bitmaps with numbered glands, patients from Grade.csv."""

from pathlib import Path

import numpy as np
import pytest

from medcoss.run import BadInput
from medcoss.specs.recipes.glas import Glas
from tests.medcoss.preprocess.files import Prepare, put
from tests.medcoss.preprocess.layouts import GLAS_GRADES, put_glas


def test_files_as_published(raw: Path, prepare: Prepare) -> None:
    folder = raw / "Warwick QU Dataset (Released 2016_07_08)"
    put(folder / "Grade.csv", GLAS_GRADES.encode())
    for name in ("train_1", "train_2", "testA_1", "testB_1", "train_9"):
        put_glas(folder, name)
    put_glas(folder, "train_3", annotated=False)
    reader, report = prepare(Glas())
    assert reader.info.classes == ["gland"]
    assert reader.info.sample_shape == [3, 512, 512]
    rows = {Path(row.source).stem: row for row in reader.rows}
    assert {name: row.split for name, row in rows.items()} == {
        "testA_1": "test", "testB_1": "test", "train_1": "train", "train_2": "train"}  # fmt: skip
    assert rows["testA_1"].patient == rows["train_2"].patient != rows["train_1"].patient
    assert "1 patients or groups stand in more than one" in report["warnings"][0]
    image, mask = reader.stored_image(0), reader.mask(0)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}
    assert mask.mean() == pytest.approx((150 * 200 + 150 * 300) / (522 * 775), rel=0.01)
    # red where the glands are: the colours are in their order
    assert ((image[:1] > 125) != mask).mean() < 0.01
    assert {Path(e["path"]).stem for e in report["bad_files"]} == {"train_3", "train_9"}


def test_the_table_gives_the_patients(raw: Path, prepare: Prepare) -> None:
    put_glas(raw, "train_1")
    with pytest.raises(BadInput, match=r"there is no Grade.csv"):
        prepare(Glas())
    put(raw / "Grade.csv", b"name,grade\ntrain_1,benign\n")
    with pytest.raises(BadInput, match=r"row train_1 has no patient ID"):
        prepare(Glas())


def test_patients_of_the_training_set_alone_go_to_val(raw: Path, prepare: Prepare) -> None:
    put(raw / "Grade.csv", GLAS_GRADES.encode())
    for name in ("train_1", "train_2", "train_3", "testA_1"):
        put_glas(raw, name)
    reader, _ = prepare(Glas(val_fraction=0.5))
    splits = {Path(row.source).stem: row.split for row in reader.rows}
    assert (splits["testA_1"], splits["train_2"]) == ("test", "train"), "the patient of both stays where he is"
    assert sorted([splits["train_1"], splits["train_3"]]) == ["train", "val"]
