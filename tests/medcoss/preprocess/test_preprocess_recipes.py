"""Recipes: folders become samples; bad files are listed and end the job only when there are too many."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.data.shards import ShardReader
from medcoss.preprocess.run import preprocess
from medcoss.preprocess.volumes import tiles_of, to_lps
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.preprocess import ImageFolder, PreprocessSpec, Splits, VolumeFolder
from tests.medcoss.preprocess.files import Prepare, image_bytes, itk_image, put, volume_bytes

RNG = np.random.default_rng(5)


def picture(shape: tuple[int, ...] = (40, 30)) -> bytes:
    return image_bytes(RNG.integers(0, 255, shape, dtype=np.uint8))


def scan(slices: int = 20, **geometry: Any) -> sitk.Image:
    return itk_image(RNG.normal(100, 20, (slices, 24, 28)).astype(np.float32), **geometry)


def labels_for(image: sitk.Image, value: int = 1) -> sitk.Image:
    found = sitk.Cast(image > 100, sitk.sitkUInt8) * value
    found.CopyInformation(image)
    return found


# images


def test_class_folders_and_splits(raw: Path, prepare: Prepare) -> None:
    for split, folder in (("train", "train"), ("val", "validation"), ("test", "Test")):
        for name in ("normal", "covid"):
            for i in range(2):
                put(raw / folder / name / f"{split}{i}.png", picture())
    reader, report = prepare(ImageFolder(size=(32, 48), labels="folders"))
    assert reader.info.classes == ["covid", "normal"]
    assert reader.info.splits == {"train": 4, "val": 4, "test": 4}
    assert reader.info.sample_shape == [1, 32, 48]
    for row in reader.rows:
        assert reader.info.classes[row.label] == Path(row.source).parent.name
        assert Path(row.source).name.startswith(row.split)
    assert reader.stored_image(0).shape == (1, 32, 48)
    assert reader.stored_image(0).dtype == np.uint8
    assert report["inputs"] == 12
    assert report["bad_files"] == []


def test_an_image_outside_the_class_folders_is_bad(raw: Path, prepare: Prepare) -> None:
    put(raw / "train" / "a" / "1.png", picture())
    put(raw / "train" / "stray.png", picture())
    reader, report = prepare(ImageFolder(size=(32, 32), labels="folders"))
    assert reader.info.classes == ["a"]
    assert [entry["path"] for entry in report["bad_files"]] == ["train/stray.png"]


def test_masks_lie_on_their_image(raw: Path, prepare: Prepare) -> None:
    image = np.zeros((60, 90), np.uint8)
    image[10:30, 45:80] = 200
    put(raw / "one.png", image_bytes(image))
    put(raw / "one_mask.png", image_bytes((image > 0).astype(np.uint8)))
    reader, report = prepare(ImageFolder(size=(64, 64), mask_suffix="_mask"))
    assert reader.info.has_masks
    assert reader.info.classes == ["foreground"]
    assert report["inputs"] == 1
    mask = reader.mask(0)
    assert mask is not None
    assert mask.shape == (1, 64, 64)
    assert set(np.unique(mask)) == {0, 1}
    assert ((reader.image(0)[:1] > 0.4) != mask).mean() < 0.01


def test_bad_images_and_masks_are_named(raw: Path, prepare: Prepare) -> None:
    for name in ("good", "small", "broken", "alone"):
        put(raw / f"{name}.png", picture())
    put(raw / "good_mask.png", picture())
    put(raw / "small_mask.png", picture((10, 10)))
    put(raw / "broken_mask.png", b"no picture")
    put(raw / "notes.png", b"just words")
    put(raw / "notes_mask.png", picture())
    put(raw / "readme.txt", b"hello")
    put(raw / ".hidden.png", b"")
    reader, report = prepare(ImageFolder(size=(32, 32), mask_suffix="_mask"), max_bad_fraction=0.8)
    assert [row.source for row in reader.rows] == ["good.png"]
    reasons = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    assert "10 x 10" in reasons["small_mask.png"]
    assert "40 x 30" in reasons["small_mask.png"]
    assert "this is text" in reasons["broken_mask.png"]
    assert "no mask" in reasons["alone.png"]
    assert "this is text" in reasons["notes.png"]
    assert len(reasons) == 4
    assert report["inputs"] == 5
    assert report["ignored"] == ["readme.txt"]


def test_real_xrays_with_dicom(raw: Path, real_data: Path, prepare: Prepare) -> None:
    images = sorted((real_data / "xray" / "train" / "covid").glob("*.jpg"))[:3]
    for path in [*images, *(real_data / "xray" / "dicom").glob("*.dcm")]:
        put(raw / path.name, path.read_bytes())
    reader, report = prepare(ImageFolder(size=(64, 64)), max_bad_fraction=0)
    assert report["bad_files"] == []
    assert reader.info.splits == {"train": 6}
    for i in range(6):
        image = reader.image(i)
        assert image.shape == (3, 64, 64)
        assert 0 <= image.min() < image.max() <= 1
        assert np.array_equal(image[0], image[2])


def test_colour_tiles_stay_in_colour(raw: Path, real_data: Path, prepare: Prepare) -> None:
    path = sorted((real_data / "path" / "cmu1_small_region").glob("*.jpg"))[0]
    put(raw / path.name, path.read_bytes())
    reader, _ = prepare(ImageFolder(modality="pathology", size=(64, 64)))
    assert reader.image(0).shape == (3, 64, 64)
    red, green, _ = reader.image(0).mean(axis=(1, 2))
    assert red > green, "eosin is pink"


# too many bad files


def test_max_bad_fraction_is_a_limit_not_a_threshold(raw: Path, prepare: Prepare) -> None:
    for i in range(9):
        put(raw / f"{i}.png", picture((8, 8)))
    put(raw / "bad.png", b"words")
    recipe = ImageFolder(size=(16, 16))
    reader, _ = prepare(recipe, max_bad_fraction=0.1)
    assert len(reader) == 9
    assert [bad.path for bad in reader.info.bad_files] == ["bad.png"]
    put(raw / "worse.png", b"")
    with pytest.raises(BadInput) as caught:
        prepare(recipe, max_bad_fraction=0.1)
    message = str(caught.value)
    assert message.startswith("bad.png: this is text")
    assert "2 of 11" in message
    assert "10%" in message
    assert "report.json" in message


@pytest.mark.parametrize(("bad", "whole", "limit"), [(29, 100, 0.29), (3, 10, 0.3), (7, 10, 0.7), (1, 3, 1 / 3)])
def test_exactly_the_allowed_share_is_allowed(raw: Path, prepare: Prepare, bad: int, whole: int, limit: float) -> None:
    data = picture((4, 4))
    for i in range(whole):
        put(raw / f"{i:03d}.png", b"words" if i < bad else data)
    reader, _ = prepare(ImageFolder(size=(16, 16)), max_bad_fraction=limit)
    assert len(reader) == whole - bad


def test_nothing_usable_is_refused_even_when_all_may_be_bad(raw: Path, prepare: Prepare) -> None:
    put(raw / "bad.png", b"words")
    with pytest.raises(BadInput, match=r"^bad\.png: this is text"):
        prepare(ImageFolder(size=(16, 16)), max_bad_fraction=1)


def test_an_empty_folder_is_refused(prepare: Prepare) -> None:
    with pytest.raises(BadInput, match="found nothing"):
        prepare(ImageFolder())
    with pytest.raises(BadInput, match="NIfTI"):
        prepare(VolumeFolder())


def test_a_folder_of_the_wrong_kind_says_what_is_there(raw: Path, prepare: Prepare) -> None:
    put(raw / "scan.nii.gz", volume_bytes(scan()))
    with pytest.raises(BadInput, match=r"found only scan\.nii\.gz"):
        prepare(ImageFolder())


def test_stopping_leaves_no_dataset(raw: Path, tmp_path: Path) -> None:
    for i in range(5):
        put(raw / f"{i}.png", picture())
    seen: list[int] = []

    class StopsAtTwo(LocalRun):
        def progress(self, done: int, total: int, message: str = "") -> None:
            seen.append(done)
            self.stop_requested = done == 2

    spec = PreprocessSpec(dataset="ds_00000000", recipe=ImageFolder(size=(16, 16)))
    with pytest.raises(Stopped):
        preprocess(spec, raw, tmp_path / "out", StopsAtTwo(tmp_path / "run"))
    assert seen == [0, 1, 2]
    with pytest.raises(BadInput, match="no prepared dataset"):
        ShardReader(tmp_path / "out")


# volumes


def test_tiles_know_their_place_in_the_volume(raw: Path, prepare: Prepare) -> None:
    image = scan(41, spacing=(0.5, 2.0, 3.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1))
    put(raw / "a.nii.gz", volume_bytes(image))
    recipe = VolumeFolder(size=(16, 32, 48), stride=8, drop_outer=0.1, modality="ct", splits=Splits())
    reader, _ = prepare(recipe)
    oriented = sitk.GetArrayFromImage(to_lps(image))
    assert [row.offset for row in reader.rows] == [4, 12, 20], "slices 4 to 36 of 41"
    for i, row in enumerate(reader.rows):
        assert row.slices == 41
        assert row.group == "a"
        expected = tiles_of(oriented[row.offset : row.offset + 16], recipe)[1][0]
        assert np.array_equal(reader.stored_image(i), expected)
        # the field of view stays: 28 columns of 0.5 mm are 48 of 0.29 mm
        assert row.spacing == pytest.approx((3.0, 2.0 * 24 / 32, 0.5 * 28 / 48))


def test_label_maps_follow_their_volume_through_every_step(raw: Path, prepare: Prepare) -> None:
    array = np.zeros((30, 24, 28), np.float32)
    array[3:20, 4:15, 6:11] = 400
    image = itk_image(array, (0.9, 0.9, 2.0), direction=(0, -1, 0, 1, 0, 0, 0, 0, -1))
    put(raw / "sub" / "case.nii.gz", volume_bytes(image))
    put(raw / "sub" / "case_label.nii", volume_bytes(labels_for(image, 2), ".nii"))
    recipe = VolumeFolder(
        size=(16, 32, 32), modality="ct", label_suffix="_label", label_names=("other", "organ"), splits=Splits()
    )
    reader, report = prepare(recipe, max_bad_fraction=0)
    assert report["inputs"] == 1
    assert reader.info.classes == ["other", "organ"]
    assert [row.offset for row in reader.rows] == [0, 8, 14], "no outer slices are dropped"
    covered = 0
    for i in range(len(reader)):
        mask = reader.mask(i)
        assert mask is not None
        assert not mask[0].any()
        assert ((reader.image(i)[0] * 1024 > 200) != mask[1]).mean() < 0.01
        covered += int(mask[1].sum())
    assert covered > 0


def test_real_labels_lie_on_their_heart(raw: Path, real_data: Path, prepare: Prepare) -> None:
    case = (real_data / "la_mr" / "train.list").read_text().split()[0]
    for name in (f"{case}.nii.gz", f"{case}_label.nii.gz"):
        put(raw / name, (real_data / "la_mr" / name).read_bytes())
    recipe = VolumeFolder(size=(16, 32, 32), stride=16, label_suffix="_label", label_names=("atrium",))
    reader, _ = prepare(recipe, max_bad_fraction=0)
    inside, outside = [], []
    for i in range(len(reader)):
        mask, image = reader.mask(i), reader.image(i)
        assert mask is not None
        inside += list(image[mask == 1])
        outside += list(image[mask == 0])
    assert np.mean(inside) > np.mean(outside) + 0.5, "contrast agent makes the atrium bright"


def test_bad_volumes_and_label_maps_are_named(raw: Path, prepare: Prepare) -> None:
    image = scan()
    mirrored = labels_for(image)
    mirrored.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    shifted = labels_for(image)
    shifted.SetOrigin((0.0, 0.0, 1.0))
    nearly = labels_for(image)
    nearly.SetOrigin((0.001, 0.0, 0.0))
    smaller = itk_image(np.zeros((20, 24, 27), np.uint8))
    fractions = itk_image(np.full((20, 24, 28), 0.5, np.float32))
    flat = sitk.GetImageFromArray(np.zeros((8, 9), np.float32))
    packed = volume_bytes(labels_for(image))
    label_files = {
        "good": packed,
        "nearly": volume_bytes(nearly),
        "mirrored": volume_bytes(mirrored),
        "shifted": volume_bytes(shifted),
        "smaller": volume_bytes(smaller),
        "fractions": volume_bytes(fractions),
        "unknown": volume_bytes(labels_for(image, 7)),
        "truncated": packed[:-30],
        "flat": packed,
    }
    for name, label in label_files.items():
        put(raw / f"{name}.nii.gz", volume_bytes(flat if name == "flat" else image))
        put(raw / f"{name}_seg.nii.gz", label)
    put(raw / "unlabelled.nii.gz", volume_bytes(image))
    put(raw / "orphan_seg.nii.gz", packed)
    recipe = VolumeFolder(size=(16, 16, 16), stride=16, label_suffix="_seg", label_names=("a",))
    reader, report = prepare(recipe, max_bad_fraction=0.9)
    assert {row.group for row in reader.rows} == {"good", "nearly"}
    reasons = {entry["path"]: entry["reason"] for entry in report["bad_files"]}
    expected = {
        "mirrored_seg.nii.gz": "lies elsewhere",
        "shifted_seg.nii.gz": "lies elsewhere",
        "smaller_seg.nii.gz": "(27, 24, 20)",
        "fractions_seg.nii.gz": "0.5",
        "unknown_seg.nii.gz": "0, 7",
        "truncated_seg.nii.gz": "truncated",
        "flat.nii.gz": "2 dimensions",
        "unlabelled.nii.gz": "no label map",
    }
    assert reasons.keys() == expected.keys()
    for path, part in expected.items():
        assert part in reasons[path], path
    assert report["inputs"] == 10
    assert report["ignored"] == ["orphan_seg.nii.gz"]


def test_two_files_of_one_name_are_not_silently_one(raw: Path, prepare: Prepare) -> None:
    put(raw / "case.nii", volume_bytes(scan(), ".nii"))
    put(raw / "case.nii.gz", volume_bytes(scan()))
    reader, report = prepare(VolumeFolder(size=(16, 16, 16), stride=16))
    assert len({row.source for row in reader.rows}) == 1
    assert report["inputs"] == 2
    (bad,) = report["bad_files"]
    assert "same name" in bad["reason"]


def test_short_volumes_are_padded(raw: Path, prepare: Prepare) -> None:
    put(raw / "a.nii.gz", volume_bytes(scan(5)))
    reader, _ = prepare(VolumeFolder(size=(16, 16, 16), modality="ct", drop_outer=0, splits=Splits()))
    tile = reader.image(0)[0]
    assert np.array_equal(tile[5:], np.repeat(tile[4:5], 11, axis=0))
    assert reader.rows[0].slices == 5
