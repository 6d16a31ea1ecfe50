"""Patients of the generic recipes: kept in one split, known again by another recipe, asked for where unknown."""

import time
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from medcoss.run import BadInput
from medcoss.specs.recipes.image_folder import ImageFolder
from medcoss.specs.recipes.labelled_image_folder import LabelledImageFolder
from medcoss.specs.recipes.openi_reports import OpeniReports
from medcoss.specs.recipes.segmentation_pairs import SegmentationPairs
from medcoss.specs.recipes.volume_folder import VolumeFolder
from tests.medcoss.preprocess.files import Prepare, image_bytes, itk_image, put, volume_bytes

PATTERN = r"(?:^|/)(P\d+)_"
RANDOM = {"method": "random", "val_fraction": 0.25, "test_fraction": 0.25}


def fill(raw: Path) -> None:
    rng, rows, reports = np.random.default_rng(0), ["file,label,patient"], ["study_id,findings,impression,patient"]
    for patient in range(8):
        for number in range(3):
            name, image = f"P{patient}_{number}", image_bytes(rng.integers(0, 255, (32, 32)).astype(np.uint8))
            put(raw / "images" / f"{name}.png", image)
            put(raw / "masks" / f"{name}.png", image)
            put(
                raw / "volumes" / f"{name}.nii",
                volume_bytes(itk_image(rng.random((20, 32, 32)).astype(np.float32)), ".nii"),
            )
            rows.append(f"images/{name}.png,a,P{patient}")
            reports.append(f"{name},the lungs are clear of study {name},no acute disease,P{patient}")
    put(raw / "labels.csv", "\n".join(rows).encode())
    put(raw / "reports.csv", "\n".join(reports).encode())


@pytest.mark.parametrize("number", range(5))
def test_a_patient_stays_in_one_split_and_is_the_same_to_all_recipes(number: int, raw: Path, prepare: Prepare) -> None:
    fill(raw)
    if number == 4:
        (raw / "labels.csv").unlink()
    recipe = [
        ImageFolder(size=(32, 32), patient_pattern=PATTERN, splits=RANDOM),
        VolumeFolder(size=(16, 32, 32), patient_pattern=PATTERN, splits=RANDOM),
        SegmentationPairs(size=(32, 32), patient_pattern=PATTERN, splits=RANDOM),
        LabelledImageFolder(size=(32, 32), patient_column="patient", splits=RANDOM),
        OpeniReports(patient_column="patient"),
    ][number]  # fmt: skip
    reader, report = prepare(recipe)
    splits: dict[str, set[str]] = {}
    for row in reader.rows:
        splits.setdefault(row.patient, set()).add(row.split)
    assert len(splits) == 8 and all(len(found) == 1 for found in splits.values())
    assert not [w for w in report["warnings"] if "patient" in w]
    # the key of P0 in the cohort "own" without a secret, whatever the recipe
    assert "3fda986c327f2dd87e0ae370b6c3dc38" in splits


def test_what_was_erased_makes_no_samples_and_the_others_stay_in_their_splits(raw: Path, prepare: Prepare) -> None:
    fill(raw)
    recipe = ImageFolder(size=(32, 32), patient_pattern=PATTERN, splits=RANDOM)
    before = {row.source: row for row in prepare(recipe)[0].rows}
    patient = before["images/P3_0.png"].patient
    options = {"without_patients": (patient,), "without_files": ("images/P5_1.png",)}
    reader, report = prepare(recipe, **options)
    gone = {"images/P3_0.png", "images/P3_1.png", "images/P3_2.png", "images/P5_1.png"}
    assert {entry["path"] for entry in report["left_out"] if entry["reason"] == "erased"} >= gone
    left = {row.source: row for row in reader.rows}
    assert not gone & left.keys() and patient not in {row.patient for row in reader.rows}
    assert {name: row.split for name, row in left.items()} == {
        name: row.split for name, row in before.items() if name in left
    }
    assert before.keys() - left.keys() == {
        name for name in before if Path(name).name.startswith("P3_") or name == "images/P5_1.png"
    }


def test_files_without_a_patient_are_refused_or_warned_of(raw: Path, prepare: Prepare) -> None:
    put(raw / "P1_1.png", image_bytes(np.zeros((32, 32), np.uint8)))
    put(raw / "nobody.png", image_bytes(np.ones((32, 32), np.uint8)))
    _, report = prepare(ImageFolder(size=(32, 32), patient_pattern=PATTERN))
    assert [entry["path"] for entry in report["bad_files"]] == ["nobody.png"]
    _, report = prepare(ImageFolder(size=(32, 32)))
    assert report["warnings"][0].startswith("2 of 2 inputs tell no patient")


def test_a_pattern_that_would_take_for_ever_ends_the_run_and_names_no_path(raw: Path, prepare: Prepare) -> None:
    # 2^60 ways to divide the name, none of which fits
    put(raw / f"{'a' * 60}.png", image_bytes(np.zeros((32, 32), np.uint8)))
    began = time.monotonic()
    with pytest.raises(BadInput, match=r"^patient_pattern: the pattern .* takes too long for a path") as refused:
        prepare(ImageFolder(size=(32, 32), patient_pattern="^((?:a|aa)+)+$"))
    assert "aaa" not in str(refused.value) and time.monotonic() - began < 20


@pytest.mark.parametrize(("pattern", "said"), [("P[0-9", "no regular expression"), ("P.*", "0 groups")])
def test_a_pattern_has_one_group(pattern: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ImageFolder(patient_pattern=pattern)
