"""LiTS: volumes and label maps in two batches, the fingerprint of the training cases, liver and tumour."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from medcoss.run import BadInput
from medcoss.specs.recipes.lits import Lits
from tests.medcoss.preprocess.files import Prepare, put
from tests.medcoss.preprocess.layouts import lits_labels, put_lits

SIZE = (16, 64, 64)


def test_files_as_published(raw: Path, prepare: Prepare) -> None:
    first, second = raw / "Training Batch 1", raw / "Training Batch 2"
    for number in range(4):
        put_lits(first, number, 100, lits_labels())
    put_lits(second, 28, 100, lits_labels(), ".nii.gz")
    put_lits(second, 29, 100, None)
    put_lits(second, 30, 100, lits_labels() * 2)
    put_lits(second, 31, 100, lits_labels()[:-1])
    put(raw / "LITS17_test" / "test-volume-0.nii", b"not read")
    put(raw / "other.nii", b"not read")
    reader, report = prepare(Lits(size=SIZE))
    assert reader.info.classes == ["liver", "tumour"]
    assert {Path(row.source).name for row in reader.rows} == {
        "volume-0.nii", "volume-1.nii", "volume-2.nii", "volume-3.nii", "volume-28.nii.gz"}  # fmt: skip
    assert [Path(entry["path"]).name for entry in report["left_out"]] == ["test-volume-0.nii"]
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in report["bad_files"]}
    assert set(reasons) == {"volume-29.nii", "segmentation-30.nii", "segmentation-31.nii", "other.nii"}
    assert "0 to 2" in reasons["segmentation-30.nii"]
    assert "the same grid" in reasons["segmentation-31.nii"]
    # 12 slices of 3 mm are 24 of 1.5 mm: two tiles, the second moved back
    rows = [row for row in reader.rows if row.source.endswith("volume-0.nii")]
    assert [(row.offset, row.slices) for row in rows] == [(0, 24), (8, 24)]
    assert rows[0].spacing == pytest.approx((1.5, 0.8, 0.8))
    mask = reader.mask(reader.rows.index(rows[0]))
    assert mask is not None
    # slices are padded around their centre: 12 rows above, 8 columns before
    expected = np.zeros((2, *SIZE), np.uint8)
    doubled = lits_labels().repeat(2, axis=0)[:16]
    expected[:, :, 12:52, 8:56] = [doubled >= 1, doubled == 2]
    assert np.array_equal(mask, expected)


def test_the_fingerprint_is_that_of_the_training_cases(raw: Path, prepare: Prepare) -> None:
    for number in range(5):
        put_lits(raw, number, 100, lits_labels())
    (held_out,) = {row.source for row in prepare(Lits(size=SIZE))[0].rows if row.split == "test"}
    # what the division goes by stays, so the same volume is held out
    put_lits(raw, int(held_out.split("-")[1].split(".")[0]), 2000, lits_labels())
    reader, _ = prepare(Lits(size=SIZE))
    assert {row.source for row in reader.rows if row.split == "test"} == {held_out}
    values = 100 + np.arange((lits_labels() > 0).sum()) % 1000 - 500
    low, high = np.percentile(values, (0.5, 99.5))
    for number, row in enumerate(reader.rows):
        image = reader.stored_image(number)
        assert image.min() == pytest.approx((low - values.mean()) / values.std(), abs=1e-3)
        assert image.max() == pytest.approx((high - values.mean()) / values.std(), abs=1e-3), row.source


def test_the_published_window(raw: Path, prepare: Prepare) -> None:
    put_lits(raw, 0, 100, lits_labels())
    reader, _ = prepare(Lits(size=SIZE, intensity="window"))
    image = reader.stored_image(0)
    assert (image.min(), image.max()) == (-1, 1)


def test_what_cannot_be_used(raw: Path, prepare: Prepare) -> None:
    put_lits(raw, 0, 100, lits_labels())
    with pytest.raises(BadInput):
        # the liver spans 20 rows
        prepare(Lits(size=(16, 16, 64)), max_bad_fraction=0.0)
    put_lits(raw, 0, 100, lits_labels() * 0)
    with pytest.raises(BadInput, match="no case has a labelled voxel"):
        prepare(Lits(size=SIZE))
    with pytest.raises(ValidationError, match="stride"):
        Lits(stride=17)
