"""NCT-CRC-HE: nine class folders, two published sets, colours in their order."""

from pathlib import Path

import numpy as np

from medcoss.specs.recipes.nct_crc_he import NctCrcHe
from tests.medcoss.preprocess.files import Prepare, image_bytes, put
from tests.medcoss.preprocess.layouts import NCT_CLASSES, put_nct

CLASSES = list(NCT_CLASSES)


def test_folders_as_published(raw: Path, prepare: Prepare) -> None:
    for number, name in enumerate(CLASSES):
        for part, count in (("NCT-CRC-HE-100K", 2), ("CRC-VAL-HE-7K", 1)):
            for i in range(count):
                tile = np.full((224, 224, 3), (200, 100, 10 * number + i + 3 * (count == 1)), np.uint8)
                put_nct(raw / part, name, tile, i)
    put(raw / "elsewhere" / "ADI" / "x.tif", image_bytes(np.zeros((224, 224, 3), np.uint8), "TIFF"))
    put(raw / "CRC-VAL-HE-7K" / "ADI" / "cut.tif", image_bytes(np.zeros((224, 224, 3), np.uint8), "TIFF")[:500])
    reader, report = prepare(NctCrcHe())
    assert reader.info.classes == CLASSES
    assert reader.info.sample_shape == [3, 224, 224]
    assert reader.info.splits == {"train": 18, "test": 9}
    for row in reader.rows:
        assert CLASSES[row.label] == Path(row.source).parent.name
        assert (row.split == "test") == row.source.startswith("CRC-VAL-HE-7K/")
    assert sorted(entry["path"] for entry in report["bad_files"]) == [
        "CRC-VAL-HE-7K/ADI/cut.tif",
        "elsewhere/ADI/x.tif",
    ]
    right = np.stack([reader.stored_image(i) for i in range(len(reader))])
    assert (right[:, 0] == 200).all()
    reader, _ = prepare(NctCrcHe(published=True))
    assert np.array_equal(np.stack([reader.stored_image(i) for i in range(len(reader))]), right[:, ::-1])


def test_a_share_of_the_training_tiles_goes_to_val(raw: Path, prepare: Prepare) -> None:
    for number in range(8):
        put(
            raw / "NCT-CRC-HE-100K" / "ADI" / f"{number}.tif",
            image_bytes(np.full((16, 16, 3), number, np.uint8), "TIFF"),
        )
    put(raw / "CRC-VAL-HE-7K" / "ADI" / "t.tif", image_bytes(np.full((16, 16, 3), 99, np.uint8), "TIFF"))
    reader, _ = prepare(NctCrcHe(val_fraction=0.25, size=(16, 16)), seed=3)
    assert reader.info.splits == {"train": 6, "val": 2, "test": 1}
    again, _ = prepare(NctCrcHe(val_fraction=0.25, size=(16, 16)), seed=3)
    assert [row.split for row in again.rows] == [row.split for row in reader.rows]
