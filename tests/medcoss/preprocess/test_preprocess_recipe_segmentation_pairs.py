"""Images and masks in two folders."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from medcoss.specs.recipes.segmentation_pairs import SegmentationPairs
from tests.medcoss.preprocess.files import Prepare, image_bytes, put

LABELS = np.zeros((48, 64), np.uint8)
LABELS[10:20, 8:30], LABELS[25:40, 30:60] = 1, 2


def test_two_folders(raw: Path, prepare: Prepare) -> None:
    for split in ("train", "val", "test"):
        image = image_bytes((LABELS * 100).astype(np.uint8) + len(split))
        put(raw / "images" / split / "images" / "site" / "1.v2.png", image)
        put(raw / "images" / split / "masks" / "site" / "1.v2_gt.bmp", image_bytes(LABELS * 127, "BMP"))
    put(raw / "images" / "2.png", image_bytes(LABELS))
    put(raw / "other" / "3.png", image_bytes(LABELS))
    put(raw / "images" / "small.png", image_bytes(LABELS))
    put(raw / "masks" / "small_gt.png", image_bytes(LABELS[:5]))
    put(raw / "masks" / "nobody.png", image_bytes(LABELS))
    reader, report = prepare(SegmentationPairs(size=(48, 64), mask_suffix="_gt"))
    assert reader.info.splits == {"train": 1, "val": 1, "test": 1}
    assert reader.info.classes == ["foreground"]
    mask = reader.mask(0)
    assert mask is not None
    assert np.array_equal(mask[0], LABELS > 0)
    assert {entry["path"]: entry["reason"].split(";")[0] for entry in report["bad_files"]} == {
        "images/2.png": "there is no mask of its name in the folder masks beside it",
        "other/3.png": "lies in no folder images",
        "masks/small_gt.png": "the mask is 5 x 64 pixels, its image 48 x 64",
    }
    assert report["ignored"] == ["masks/nobody.png"]


def test_several_labels(raw: Path, prepare: Prepare) -> None:
    masks = {"good": LABELS, "high": LABELS + 1, "colour": np.stack([LABELS] * 3, axis=2)}
    for name, mask in masks.items():
        put(raw / "images" / f"{name}.jpg", image_bytes(LABELS * 100, "JPEG"))
        put(raw / "masks" / f"{name}.png", image_bytes(mask))
    reader, report = prepare(SegmentationPairs(size=(96, 128), label_names=("lung", "heart")), max_bad_fraction=0.9)
    mask = reader.mask(0)
    assert mask is not None
    assert len(reader) == 1
    assert np.array_equal(mask[:, ::2, ::2], [LABELS == 1, LABELS == 2])
    reasons = {Path(entry["path"]).stem: entry["reason"] for entry in report["bad_files"]}
    assert reasons["high"].startswith("the mask holds the values 1, 2, 3; expected 0 to 2")
    assert reasons["colour"].startswith("the mask is a colour image")
    with pytest.raises(ValidationError, match="label_names"):
        SegmentationPairs(label_names=())


def test_sixteen_bit_masks_keep_their_labels(raw: Path, prepare: Prepare) -> None:
    mask = np.zeros((32, 32), np.uint16)
    mask[:16], mask[16:24] = 1, 2
    for name, labels in (("a", mask), ("b", mask * 300)):
        put(raw / "images" / f"{name}.png", image_bytes(np.zeros((32, 32), np.uint8)))
        put(raw / "masks" / f"{name}.png", image_bytes(labels))
    reader, report = prepare(SegmentationPairs(modality="xray", label_names=("lung", "heart"), size=(32, 32)))
    found = reader.mask(0)
    assert found is not None
    assert found.sum(axis=(1, 2)).tolist() == [16 * 32, 8 * 32]
    assert [(one["path"], one["reason"][:41]) for one in report["bad_files"]] == [
        ("masks/b.png", "the mask holds the values 0, 300, 600; ex")]  # fmt: skip
