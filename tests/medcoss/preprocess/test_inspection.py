"""Inspections: counts add up, and warnings come exactly where something odd was planted."""

import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medcoss import inspect_dataset, prepare
from medcoss.preprocess.inspection.histogram import Histogram
from medcoss.preprocess.inspection.masks import masks_of
from medcoss.preprocess.inspection.run import inspect
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.inspection import InspectOptions

COUNTS = {"train": {"a": 12, "b": 12}, "test": {"a": 10, "b": 10}}


def image(path: Path, seed: int, shape: tuple[int, ...] = (32, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def clean(root: Path) -> Path:
    seed = 0
    for split, classes in COUNTS.items():
        for name, count in classes.items():
            for number in range(count):
                image(root / split / name / f"{number:02d}.png", seed := seed + 1)
    return root


def volume(path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 2)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = sitk.GetImageFromArray(array)
    made.SetSpacing(spacing)
    sitk.WriteImage(made, str(path))


def codes(report: object) -> dict[str, int]:
    return {one.code: one.count for one in report.warnings}  # type: ignore[attr-defined]


def test_a_clean_dataset_has_its_counts_and_no_warning(tmp_path: Path) -> None:
    raw = clean(tmp_path / "raw")
    report = inspect_dataset(raw, tmp_path / "one", quiet=True, seed=3)
    inspect_dataset(raw, tmp_path / "two", quiet=True, seed=3)
    assert (report.warnings, report.classes, report.samples) == ([], COUNTS, 44)
    assert (report.splits, report.files, report.shapes) == ({"test": 20, "train": 24}, {"png": 44}, {"32 x 40": 44})
    assert sum(report.intensities["train"].counts) == report.intensities["train"].values == 24 * 32 * 40
    names = {p.name for p in (tmp_path / "one" / "artifacts").iterdir()}
    assert names == {"report.json", "report.html", *report.pictures}
    for name in names:
        one, two = ((tmp_path / run / "artifacts" / name).read_bytes() for run in ("one", "two"))
        assert one == two, name


def test_planted_faults_are_found_and_nothing_else(tmp_path: Path) -> None:
    raw = clean(tmp_path / "raw")
    (raw / "test/a/00.png").write_bytes((raw / "train/a/00.png").read_bytes())
    (raw / "train/b/01.png").write_bytes((raw / "train/b/00.png").read_bytes())
    Image.new("L", (40, 32), 7).save(raw / "train/a/03.png")
    (raw / "train/a/04.png").write_bytes((raw / "train/a/04.png").read_bytes()[:200])
    image(raw / "train/b/05.png", 500, (30, 40))
    image(raw / "test/b/06.png", 501, (32, 40, 3))
    image(raw / "train/c/00.png", 502)
    report = inspect_dataset(raw, tmp_path / "out", quiet=True)
    assert codes(report) == {
        "duplicates_across_splits": 1, "duplicates_within_split": 1, "mixed_shapes": 2, "mixed_channels": 2,
        "constant": 1, "unreadable": 1, "empty_class": 1, "few_samples": 1, "class_imbalance": 1,
    }  # fmt: skip
    found = {one.code: one.where for one in report.warnings}
    assert found["duplicates_across_splits"] == ["test/a/00.png = train/a/00.png"]
    assert (found["constant"], found["empty_class"]) == (["train/a/03.png"], ["c"])
    assert [bad.path for bad in report.unreadable] == ["train/a/04.png"]
    assert report.samples + len(report.unreadable) == 45


def test_volumes_with_masks(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for number in range(10):
        array = draw.integers(-1000, 1000, (6, 20, 24)).astype(np.int16)
        label = np.zeros(array.shape, np.uint8)
        label[2:4, 5:9, 5:9] = 2 if number else 0
        if number == 1:
            array[0, 0, 0] = 5000
        volume(tmp_path / f"raw/{number}.nii.gz", array, (1, 1, 6 if number == 2 else 2))
        if number != 3:
            volume(tmp_path / f"raw/{number}_label.nii.gz", label[:, :18] if number == 4 else label)
    broken = np.full((4, 8, 8), np.nan, np.float32)
    volume(tmp_path / "raw/nan.nii", broken)
    report = inspect_dataset(tmp_path / "raw", tmp_path / "out", quiet=True, modality="ct")
    assert codes(report) == {"mixed_spacings": 1, "out_of_range": 1, "wrong_mask": 1, "empty_mask": 1,
                             "masks_missing": 1, "not_finite": 1}  # fmt: skip
    assert (report.samples, report.masks, report.label_voxels["2"]) == (10, 8, 7 * 32)
    assert report.foreground is not None
    assert report.foreground.values == 7 * 32
    assert report.target_spacing == [2.0, 1.0, 1.0]
    with Image.open(tmp_path / "out/artifacts/montage_unsplit.png") as picture:
        # grey has no colour: only what lies over it has
        assert np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2).max() > 40, "no mask is shown"


def test_labels_of_deep_masks_and_axes_in_words(tmp_path: Path) -> None:
    for number in range(10):
        image(tmp_path / f"raw/images/{number}.png", number)
        labels = np.zeros((32, 40), np.uint16)
        labels[:3, :5] = 300
        (tmp_path / "raw/masks").mkdir(exist_ok=True)
        Image.fromarray(labels).save(tmp_path / f"raw/masks/mask_{number}.png")
    image(tmp_path / "raw/masks/mask_alone.png", 11)
    report = inspect_dataset(tmp_path / "raw", tmp_path / "out", quiet=True)
    assert report.label_voxels == {"0": 10 * (32 * 40 - 15), "300": 150}
    assert report.classes == {}
    assert codes(report) == {"masks_without_image": 1, "masks_missing": 1}
    shown = (tmp_path / "out/artifacts/report.html").read_text()
    assert "<td>rows (y)</td><td>32</td>" in shown and "<td>columns (x)</td><td>40</td>" in shown


def test_masks_are_found_as_recipes_and_publishers_lay_them_out() -> None:
    pairs = {
        "images/a.png": "masks/a.png", "Test Set/Images/b.png": "Test Set/Ground-truths/mask_b.png",
        "volume-3.nii": "segmentation-3.nii", "x/lgemri.nrrd": "x/laendo.nrrd", "train_1.bmp": "train_1_anno.bmp",
        "imagesTr/c_0000.nii.gz": "labelsTr/c.nii.gz",
    }  # fmt: skip
    others = ["masks/alone.png", "labels/cat.png", "segmentation-4.nii", "d_mask.png"]
    assert masks_of([*pairs, *pairs.values(), *others]) == (pairs, ["d_mask.png"])


def test_archives_are_looked_into_and_leave_nothing(tmp_path: Path) -> None:
    folders = clean(tmp_path / "plain")
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw/all.zip", "w") as made:
        for path in sorted(folders.rglob("*.png")):
            made.write(path, path.relative_to(folders).as_posix())
        made.writestr("../evil.png", b"x")
    run = LocalRun(tmp_path / "run")
    report = inspect(InspectOptions(), tmp_path / "raw", tmp_path / "out", run)
    assert (report.classes, report.files) == (COUNTS, {"png": 44})
    assert [bad.path for bad in report.unreadable] == ["all.zip: ../evil.png"]
    others = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("sample")}
    assert others == {"report.json", "report.html", *report.pictures}


def test_prepared_ct_is_shown_in_the_window_of_raw_ct(tmp_path: Path) -> None:
    for number in range(2):
        # air, fat and muscle
        array = np.full((16, 32, 32), -1000, np.int16)
        array[:, 4:, :], array[:, 16:, :] = -100, 60 + number
        volume(tmp_path / f"raw/{number}.nii.gz", array)
    prepare(tmp_path / "raw", tmp_path / "made", "volume_folder", modality="ct", size=(16, 32, 32), drop_outer=0,
            quiet=True)  # fmt: skip
    for name, data in (("raw", tmp_path / "raw"), ("made", tmp_path / "made")):
        inspect_dataset(data, tmp_path / f"out_{name}", quiet=True, modality="ct")
        (montage,) = (tmp_path / f"out_{name}/artifacts").glob("montage_*.png")
        with Image.open(montage) as picture:
            axial = np.asarray(picture.convert("L"))[8:140, 76]
        # -160 to 240 HU are 0 to 255
        assert {0, 38, 140} <= set(axial.tolist()), name


def radiograph(path: Path, seed: int, patient: str) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID, made.StudyInstanceUID = generate_uid(), generate_uid()
    made.PatientID, made.PatientName, made.Modality = patient, "Zyxwvut^Quentin", "CR"
    made.Rows, made.Columns, made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 16, 12, 11
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
    made.PixelSpacing = [0.2, 0.2]
    made.PixelData = np.random.default_rng(seed).integers(0, 4096, (16, 16), dtype=np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, made, enforce_file_format=True)


def test_patients_in_two_splits_are_counted_and_never_named(tmp_path: Path) -> None:
    for number in range(20):
        split = "train" if number % 2 else "test"
        patient = f"PAT-{7700 + number}" if number > 1 else "PAT-SHARED"
        radiograph(tmp_path / f"raw/{split}/{number}.dcm", number, patient)
    report = inspect_dataset(tmp_path / "raw", tmp_path / "out", quiet=True)
    assert codes(report) == {"patients_across_splits": 1}
    assert (report.patients, report.types) == ({"test": 10, "train": 10}, {"12 bit": 20})
    for path in (tmp_path / "out").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"PAT-" not in content and b"Zyxwvut" not in content, path


def test_a_prepared_dataset_has_the_counts_of_its_table(tmp_path: Path) -> None:
    info = prepare(clean(tmp_path / "raw"), tmp_path / "made", modality="xray", size=(32, 32), labels="folders",
                   quiet=True)  # fmt: skip
    report = inspect_dataset(tmp_path / "made", tmp_path / "out", quiet=True)
    assert (report.source, report.splits, report.classes) == ("prepared", info.splits, COUNTS)
    assert (report.shapes, report.types, report.warnings) == ({"32 x 32": 44}, {"uint8": 44}, [])


def test_reports_are_told_by_numbers_alone(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.txt").write_text(f"No pneumothorax, Xylander {number}." + " Clear lungs." * number)
    report = inspect_dataset(folder, tmp_path / "out", quiet=True)
    assert report.texts is not None
    assert (report.texts.reports, report.texts.vocabulary) == (12, 5)
    assert "xylander" not in (tmp_path / "out/artifacts/report.html").read_text().lower()


def test_an_empty_folder_and_a_stop(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.csv").write_text("a,b\n")
    run = LocalRun(tmp_path / "run")
    with pytest.raises(BadInput, match="found 1 table"):
        inspect(InspectOptions(), tmp_path / "raw", tmp_path / "out", run)
    run.stop_requested = True
    with pytest.raises(Stopped):
        inspect(InspectOptions(), clean(tmp_path / "more"), tmp_path / "out", run)


def test_histograms_add_up_in_any_order() -> None:
    draw = np.random.default_rng(1)
    parts = [draw.normal(5, 10.0**e, 500) for e in range(-2, 4)] + [np.full(9, 0.1), draw.integers(0, 9, (3, 4, 5))]
    sums = []
    for seed in range(3):
        total = Histogram()
        for part in random.Random(seed).sample(parts, len(parts)):
            total.add(Histogram.of(part))
        sums.append(total)
    values = np.concatenate([part.ravel() for part in parts])
    assert len({json.dumps([s.exponent, s.start, s.counts]) for s in sums}) == 1
    assert sum(sums[0].counts) == sums[0].number == values.size
    assert sums[0].percentile(50) == pytest.approx(np.median(values), abs=sums[0].width)
    assert sums[0].std == pytest.approx(values.std())
