"""Sample data as files: the layout, the same bytes for the same seed, and what the recipes make of it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medcoss.phantoms import ct, mr, pathology, reports, sample_data, write_sample_data, xray
from medcoss.preprocess.engine.plan import Plan
from medcoss.preprocess.io import read_image
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.run import preprocess
from medcoss.run import LocalRun, sha256_file
from medcoss.specs.preprocess import ImageFolder, OpeniReports, PreprocessSpec, Recipe, Splits, VolumeFolder

RECIPES: dict[str, Recipe] = {
    "reports": OpeniReports(label_column="label"),
    "xray": ImageFolder(modality="xray", size=(64, 64), labels="folders"),
    "pathology": ImageFolder(modality="pathology", size=(64, 64), labels="folders"),
    "mr": VolumeFolder(modality="mr", size=(16, 48, 48), label_suffix="_label", label_names=mr.LABELS),
    "ct": VolumeFolder(modality="ct", size=(16, 48, 48), label_suffix="_label", label_names=ct.LABELS),
}


def hashes(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}


def test_the_same_seed_gives_the_same_bytes(few: Path, write_few: Callable[[int], Path]) -> None:
    first = hashes(few)
    assert len(first) == 2 + 4 * 2 + 2 * 2 + 3 * 3 + 3 + 3 * 3
    assert hashes(write_few(0)) == first


def test_no_two_files_are_alike(few: Path) -> None:
    found = hashes(few)
    assert len(set(found.values())) == len(found)


@pytest.mark.parametrize("module", [xray, pathology, mr, ct])
def test_a_file_depends_on_its_name_and_the_seed_alone(few: Path, tmp_path: Path, module: ModuleType) -> None:
    last_of_few = {xray: "validation/effusion/case_0001", pathology: "validation/normal/tile_0001"}
    for seed in (0, 1):
        item = next(i for i in module.items(seed) if last_of_few.get(module, "case_02") in i.path)
        item.write(tmp_path / str(seed))
    written = [sha256_file(tmp_path / str(seed) / item.path) for seed in (0, 1)]
    assert written[0] == sha256_file(few / item.path)
    assert written[1] != written[0]


def test_reports_of_another_seed_differ() -> None:
    assert list(reports.rows(0))[:20] != list(reports.rows(1))[:20]


@pytest.mark.parametrize("modality", sorted(RECIPES))
def test_recipes_accept_every_file(few: Path, tmp_path: Path, modality: str) -> None:
    spec = PreprocessSpec(dataset="ds_00000000", recipe=RECIPES[modality])
    info = preprocess(spec, few / modality, tmp_path / "shards", LocalRun(tmp_path))
    assert info.bad_files == []
    assert info.samples > 0
    labels = {"mr": mr.LABELS, "ct": ct.LABELS, "xray": xray.CLASSES, "pathology": pathology.CLASSES}
    expected = labels.get(modality, reports.CLASSES)
    assert sorted(info.classes or []) == sorted(expected)
    if modality in ("xray", "pathology", "reports"):
        assert all(info.splits[split] > 0 for split in ("train", "val", "test"))


def test_random_splits_of_the_full_set_leave_volumes_for_every_split(tmp_path: Path) -> None:
    for module in (mr, ct):
        folder = tmp_path / module.__name__
        for item in module.items(0):
            path = folder / item.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        plan = Plan(tmp_path / "plan", VolumeFolder(splits=Splits(method="random")), Raw(folder), 0, b"")
        assert {planned.split for planned in plan.items()} == {"train", "val", "test"}
        plan.close()


def test_the_full_set_has_the_documented_layout_and_balanced_classes() -> None:
    images = [PurePosixPath(item.path) for item in [*xray.items(0), *pathology.items(0)]]
    counts = Counter(path.parts[:3] for path in images)
    for split, modality in ((s, m) for s in xray.COUNTS for m in (xray, pathology)):
        name = modality.__name__.rsplit(".", 1)[1]
        assert len({counts[name, split, label] for label in modality.CLASSES}) == 1
    assert counts["xray", "train", "normal"] == 60
    assert counts["pathology", "train", "tumour"] == 40
    everything = [item.path for m in (reports, xray, ct, mr, pathology) for item in m.items(0)]
    assert len(set(everything)) == len(everything)


def test_the_folders_are_returned_and_progress_names_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xray, "COUNTS", {"train": 1, "validation": 0, "test": 0})
    monkeypatch.setattr(pathology, "COUNTS", {"train": 0, "validation": 0, "test": 0})
    monkeypatch.setattr(mr, "COUNT", 1)
    monkeypatch.setattr(ct, "COUNT", 1)
    calls: list[tuple[int, int, str]] = []
    folders = write_sample_data(tmp_path / "new" / "set", progress=lambda *call: calls.append(call))
    assert [folder.name for folder in folders] == ["reports", "xray", "ct", "mr", "pathology"]
    total = calls[0][1]
    assert [call[0] for call in calls] == list(range(total + 1))
    assert calls[0][2] == "reports/reports.csv"
    assert all((tmp_path / "new" / "set" / path).is_file() for _, _, path in calls if path)


def test_an_occupied_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty.*choose another directory, or remove this one first"):
        write_sample_data(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(ValueError, match=r"is a file.*choose another path"):
        write_sample_data(tmp_path / "notes.txt")


def test_the_readme_says_that_it_is_synthetic_with_which_seed_and_under_which_terms(few: Path) -> None:
    text = (few / "README.md").read_text()
    assert "Synthetic" in text and "seed 0" in text and "CC0" in text
    assert all(f"`{folder}/" in text for folder in sample_data.FOLDERS)


def test_dicom_files_are_valid_radiographs_of_an_invented_patient(few: Path) -> None:
    paths = sorted((few / "xray" / "test").rglob("*.dcm"))
    found = [pydicom.dcmread(path) for path in paths]
    assert [path.parent.name for path in paths] == sorted(xray.CLASSES)
    assert sorted({d.PhotometricInterpretation for d in found}) == ["MONOCHROME1", "MONOCHROME2"]
    assert len({d.SOPInstanceUID for d in found}) == len({d.PatientID for d in found}) == len(found)
    for dataset, path in zip(found, paths, strict=True):
        assert dataset.PatientName == "SYNTHETIC^PHANTOM"
        assert "Synthetic" in dataset.ImageComments
        assert dataset.Modality == "CR" and dataset.BitsStored == 12
        assert dataset.pixel_array.max() < 4096
        shown = read_image(path.read_bytes(), path.name)
        # the spine is white and the air beside the neck is black, whichever way the pixels are stored
        assert np.median(shown[-40:, shown.shape[1] // 2 - 5 : shown.shape[1] // 2 + 5]) > 150
        assert np.median(shown[:12, :12]) < 60


@pytest.mark.parametrize("modality", ["mr", "ct"])
def test_label_maps_lie_on_the_grid_of_their_volumes(few: Path, modality: str) -> None:
    volumes = sorted(p for p in (few / modality).iterdir() if "_label" not in p.name)
    known = set(range(len({"mr": mr.LABELS, "ct": ct.LABELS}[modality]) + 1))
    for path in volumes:
        volume = sitk.ReadImage(str(path))
        label = sitk.ReadImage(str(path.with_name(path.name.replace(".nii.gz", "_label.nii.gz"))))
        assert label.GetSize() == volume.GetSize()
        assert label.GetSpacing() == volume.GetSpacing()
        assert label.GetOrigin() == volume.GetOrigin()
        assert label.GetDirection() == volume.GetDirection()
        assert volume.GetPixelID() == sitk.sitkInt16
        assert set(np.unique(sitk.GetArrayViewFromImage(label)).tolist()) == known


def test_mr_volumes_come_in_several_orientations_and_some_are_oblique(few: Path) -> None:
    images = [sitk.ReadImage(str(p)) for p in sorted((few / "mr").glob("case_??.nii.gz"))]
    name = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines
    assert len({name(image.GetDirection()) for image in images}) >= 3
    assert sum(max(abs(np.abs(image.GetDirection()) - np.round(np.abs(image.GetDirection())))) > 0.05
               for image in images) == 1  # fmt: skip
    assert all(image.GetSpacing()[2] > 1.1 * image.GetSpacing()[0] for image in images)
