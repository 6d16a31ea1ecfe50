"""Real files of every modality through the recipes, over HTTP: counts, shapes, values that are right for the modality.

The jobs are submitted together; a recipe's test waits for its own.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcoss.client import Client, Job
from medcoss.data.shards import ShardReader

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PER_CLASS = 4
MIMIC = "files/p10/p1000003{n}/s5000000{n}"


@dataclass(frozen=True)
class Case:
    """A raw dataset, laid out as published from real files, and the recipe for it."""

    modality: str
    recipe: dict[str, Any]
    lay_out: Callable[[Path, Path], None]


def _copied(pattern: str, most: int = 1000) -> Callable[[Path, Path], None]:
    """The first files that match, at their places."""

    def lay_out(data: Path, raw: Path) -> None:
        for path in sorted(data.glob(pattern))[:most]:
            _copy(path, raw / path.relative_to(data))

    return lay_out


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _chestxr(data: Path, raw: Path) -> None:
    for split in ("train", "validation"):
        for name in ("covid", "normal", "pneumonia"):
            for path in sorted((data / "xray" / split / name).glob("*.jpg"))[:PER_CLASS]:
                _copy(path, raw / split / name / path.name)


def _mimic(data: Path, raw: Path) -> None:
    """Four radiographs as MIMIC-CXR-JPG lays them out; the last is lateral."""
    split = ["dicom_id,study_id,subject_id,split"]
    views = ["dicom_id,subject_id,study_id,ViewPosition"]
    for n, path in enumerate(sorted((data / "xray" / "train" / "normal").glob("*.jpg"))[:4]):
        _copy(path, raw / MIMIC.format(n=n) / f"d{n}.jpg")
        split.append(f"d{n},5000000{n},1000003{n},{('train', 'validate', 'test', 'train')[n]}")
        views.append(f"d{n},1000003{n},5000000{n},{('PA', 'AP', 'PA', 'LATERAL')[n]}")
    (raw / "mimic-cxr-2.0.0-split.csv").write_text("\n".join(split) + "\n")
    (raw / "mimic-cxr-2.0.0-metadata.csv").write_text("\n".join(views) + "\n")


def _adni(data: Path, raw: Path) -> None:
    for n, name in enumerate(("niivue_chris_pd", "brainix_flair")):
        _copy(data / "brain_mr" / f"{name}.nii.gz", raw / f"ADNI/002_S_000{n}/MR/2020-01-01/I{n}/{name}.nii.gz")


def _tcga(data: Path, raw: Path) -> None:
    for path in sorted((data / "path" / "tcga_cr_7395").glob("*.jpg"))[:8]:
        _copy(path, raw / "TCGA-HNSC/TCGA-CR-7395" / path.name)


TRAIN = {"method": "random", "val_fraction": 0.0, "test_fraction": 0.0}
CASES = {
    "mimic_cxr_images": Case("xray", {}, _mimic),
    "image_folder": Case("xray", {"size": [64, 96]}, _copied("xray/dicom/*.dcm")),
    "chestxr": Case("xray", {}, _chestxr),
    "openi_reports": Case("report", {}, _copied("reports/reports.csv")),
    "adni": Case("mr", {"splits": TRAIN}, _adni),
    "volume_folder": Case(
        "ct", {"modality": "ct", "size": [16, 96, 96], "splits": TRAIN},
        _copied("ct/totalseg_upper_abdomen_slab_512.nii.gz"),
    ),
    "deeplesion": Case("ct", {}, _copied("ct_slices_png/**/*.*")),
    "dicom_export": Case("ct", {"modality": "ct", "splits": TRAIN}, _copied("ct_dicom/*.dcm")),
    "la_seg": Case("mr", {"size": [16, 96, 96], "stride": 16, "splits": TRAIN}, _copied("la_mr_h5/*/mri_norm2.h5", 2)),
    "tcga": Case("pathology", {"splits": TRAIN, "most_tiles": 6}, _tcga),
}  # fmt: skip
# whose names and tables tell no patient, which the report says
NO_PATIENTS = {"image_folder", "openi_reports", "volume_folder"}


@dataclass(frozen=True)
class Made:
    """What a job has made: the dataset as it is downloaded, and the report."""

    shards: ShardReader
    report: dict[str, Any]

    def images(self) -> np.ndarray[Any, np.dtype[Any]]:
        """All images as stored, (N, ...)."""
        return np.stack([self.shards.stored_image(i) for i in range(len(self.shards))])


Prepared = Callable[[str], Made]


@pytest.fixture(scope="module")
def prepared(client: Client, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Submits all cases; the result of one by its name."""
    root = tmp_path_factory.mktemp("real")
    jobs: dict[str, Job] = {}
    for name, case in CASES.items():
        (root / name / "raw").mkdir(parents=True)
        case.lay_out(real_data, root / name / "raw")
        called = f"real-{name.replace('_', '-')}"
        with pytest.warns(match="burned into") if name == "image_folder" else nullcontext():
            raw = client.datasets.upload(root / name / "raw", name=called, modality=case.modality)
        spec = {"dataset": raw.id, "recipe": {"name": name, **case.recipe}, "max_bad_fraction": 0.0}
        jobs[name] = client.jobs.submit("preprocess", spec)

    def made(name: str) -> Made:
        job = client.jobs.wait(jobs[name].id, timeout=200)
        shards = ShardReader(client.datasets.download(job.outputs["dataset"], root / name / "shards"))
        client.jobs.download_artifacts(job.id, root / name / "artifacts")
        report = json.loads((root / name / "artifacts" / "report.json").read_text())
        assert (report["bad_files"], report["duplicates"], report["ignored"]) == ([], [], [])
        assert all("tell no patient" in warning for warning in report["warnings"])
        assert len(report["warnings"]) == (name in NO_PATIENTS), report["warnings"]
        return Made(shards, report)

    yield made


def check_radiographs(images: np.ndarray[Any, np.dtype[Any]]) -> None:
    """Grey levels of the whole range, neither dark nor bright on the whole, each image of its own."""
    assert images.dtype == np.uint8
    assert (np.ptp(images.reshape(len(images), -1), axis=1) > 150).all()
    assert all(30 < image.mean() < 220 for image in images)
    assert len({image.tobytes() for image in images}) == len(images)


def test_radiographs_as_mimic_cxr(prepared: Prepared) -> None:
    made = prepared("mimic_cxr_images")
    assert made.shards.info.splits == {"train": 1, "val": 1, "test": 1}
    assert [Path(entry["path"]).name for entry in made.report["left_out"]] == ["d3.jpg"], "the lateral one"
    assert made.shards.info.sample_shape == [1, 224, 224]
    check_radiographs(made.images())


def test_dicom_radiographs_of_a_folder(prepared: Prepared) -> None:
    made = prepared("image_folder")
    # text is burned into the pixels of the other two, by their headers: they do not leave their owner's machine
    kept = {Path(row.source).name for row in made.shards.rows}
    assert kept == {"cr_mono1_10bit_real.dcm"}
    assert made.shards.info.sample_shape == [1, 64, 96]
    check_radiographs(made.images())


def test_radiographs_as_chestxr(prepared: Prepared) -> None:
    made = prepared("chestxr")
    info = made.shards.info
    assert info.splits == {"train": 3 * PER_CLASS, "val": 3 * PER_CLASS}
    assert info.labelled == info.splits and info.classes == ["covid", "normal", "pneumonia"]
    for row in made.shards.rows:
        assert info.classes[row.label] == Path(row.source).parent.name
    check_radiographs(made.images())


def test_reports(prepared: Prepared, real_data: Path) -> None:
    made = prepared("openi_reports")
    with (real_data / "reports" / "reports.csv").open(newline="", encoding="utf-8") as file:
        count = sum(1 for _ in csv.DictReader(file))
    left_out = made.report["left_out"]
    assert {entry["reason"] for entry in left_out} == {"fewer than 3 tokens"}
    assert len(made.shards) + len(left_out) == count and len(left_out) < 0.02 * count
    texts = [row.text for row in made.shards.rows]
    assert all(len(text.split()) >= 3 for text in texts)
    assert sum("lungs" in text.lower() for text in texts) > 0.3 * len(texts)


@pytest.mark.parametrize("name", ["adni", "la_seg"])
def test_mr_volumes(prepared: Prepared, name: str) -> None:
    made = prepared(name)
    size = {"adni": (16, 192, 192), "la_seg": (16, 96, 96)}[name]
    images = made.images()
    assert images.shape[1:] == (1, *size) and images.dtype == np.float32
    groups = {row.group for row in made.shards.rows}
    assert len(groups) == 2 and len({row.patient for row in made.shards.rows}) == 2
    assert np.isfinite(images).all() and np.abs(images).max() < 20
    for tile in images:
        assert abs(tile.mean()) < 1e-3 and tile.std() == pytest.approx(1, abs=1e-3), "z-scored"


def test_atria_are_brighter_than_what_is_around_them(prepared: Prepared) -> None:
    shards = prepared("la_seg").shards
    masks = np.stack([mask for i in range(len(shards)) if (mask := shards.mask(i)) is not None])
    images = np.stack([shards.stored_image(i) for i in range(len(shards))])
    assert len(masks) == len(shards) and set(np.unique(masks)) == {0, 1}
    assert images[masks == 1].mean() > images[masks == 0].mean() + 0.5, "contrast agent"


@pytest.mark.parametrize("name", ["volume_folder", "deeplesion", "dicom_export"])
def test_ct_volumes(prepared: Prepared, name: str) -> None:
    """The same slab of the upper abdomen in three forms: HU / 1024, air around a body that is mostly water."""
    made = prepared(name)
    images = made.images()
    assert list(images.shape[1:]) == ([1, 16, 96, 96] if name == "volume_folder" else [1, 16, 192, 192])
    assert len({row.group for row in made.shards.rows}) == 1
    assert images.dtype == np.float32 and -1 <= images.min() < -0.95 and 0.3 < images.max() <= 1.8
    middle = images[:, 0, :, images.shape[3] // 3 : -images.shape[3] // 3, images.shape[4] // 3 : -images.shape[4] // 3]
    assert -150 < 1024 * np.median(middle) < 150, "soft tissue"


def test_the_slab_is_the_same_from_png_and_from_dicom(prepared: Prepared) -> None:
    slices, series = prepared("deeplesion"), prepared("dicom_export")
    assert len(slices.shards) == len(series.shards)
    assert np.abs(slices.images() - series.images()).mean() < 0.01


def test_tissue_tiles(prepared: Prepared) -> None:
    made = prepared("tcga")
    assert len(made.shards) == 6 and len(made.report["left_out"]) == 2, "at most most_tiles of a patient"
    assert made.shards.info.sample_shape == [3, 224, 224]
    red, green, blue = made.images().mean(axis=(0, 2, 3))
    assert red > green and blue > green, "hematoxylin and eosin"
