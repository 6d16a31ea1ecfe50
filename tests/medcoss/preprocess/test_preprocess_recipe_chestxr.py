"""ChestXR: three class folders in each published split."""

import shutil
from pathlib import Path

import numpy as np

from medcoss.specs.recipes.chestxr import ChestXr
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

RNG = np.random.default_rng(3)


def radiograph() -> bytes:
    return image_bytes(RNG.integers(0, 255, (40, 50, 3), dtype=np.uint8))


def test_folders_as_published(raw: Path, prepare: Prepare) -> None:
    for split in ("train", "validation"):
        for name in ("covid", "normal", "pneumonia"):
            put(raw / split / name / f"{name}_1.png", radiograph())
    put(raw / "test" / "test_1.png", radiograph())
    put(raw / "test" / "covid" / "covid_9.png", radiograph())
    put(raw / "train" / "masks" / "m.png", radiograph())
    put(raw / "train" / "normal" / "broken.png", b"no image")
    put(raw / "train" / "normal" / "none.png", b"")
    reader, report = prepare(ChestXr(size=(32, 48)))
    assert reader.info.classes == ["covid", "normal", "pneumonia"]
    assert reader.info.splits == {"train": 3, "val": 3, "test": 1}
    assert reader.info.sample_shape == [1, 32, 48]
    for row in reader.rows:
        assert reader.info.classes[row.label] == Path(row.source).parent.name
    assert [entry["path"] for entry in report["left_out"]] == ["test/test_1.png"]
    assert sorted(entry["path"] for entry in report["bad_files"]) == [
        "train/masks/m.png", "train/normal/broken.png", "train/normal/none.png"]  # fmt: skip


def test_real_radiographs(raw: Path, real_data: Path, prepare: Prepare) -> None:
    for path in sorted((real_data / "xray").glob("*/*/*01.jpg")):
        target = raw / path.relative_to(real_data / "xray")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    reader, report = prepare(ChestXr(), max_bad_fraction=0)
    assert reader.info.classes == ["covid", "normal", "pneumonia"]
    assert {split for split, count in reader.info.splits.items() if count} == {"train", "val"}
    assert report["bad_files"] == []
    assert 40 < reader.stored_image(0).mean() < 215
