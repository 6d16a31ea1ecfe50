"""The nine published tasks over HTTP: files as published, recipe, fine-tuning by the name of a preset, evaluation.

Radiographs of ChestXR and left atria are real, the other files are generated. Every job is of size tiny and short.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcoss.client import Client, Job
from tests.medcoss.preprocess.files import put, volume_bytes
from tests.medcoss.preprocess.layouts import (
    GLAS_GRADES,
    NCT_CLASSES,
    RICORD_A,
    RICORD_B,
    pubmed_abstract,
    put_glas,
    put_large_lits,
    put_nct,
    put_qata,
    put_vs,
    ricord_scan,
    vs_head,
)
from tests.medcoss.specs.test_specs_presets import CLASSIFY, PUBLISHED

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

RNG = np.random.default_rng(6)
WINDOW = {"size": [64, 192, 192], "stride": 32}
QUARTER = {"splits": {"method": "random", "val_fraction": 0.0, "test_fraction": 0.25}}
WORDS = {
    "BACKGROUND": "little is known of this frequent chronic disease",
    "OBJECTIVE": "to determine whether the new treatment is better",
    "METHODS": "patients were randomized and assigned to two groups",
    "RESULTS": "the difference was significant with p below @",
    "CONCLUSIONS": "we recommend this therapy for routine care",
}


def _pubmed(raw: Path, _data: Path) -> None:
    for first, name, count in ((100, "train", 12), (200, "dev", 2), (300, "test", 4)):
        abstracts = [
            pubmed_abstract(first + n, {role: " ".join(RNG.permutation(text.split())[:6]) + f" {n} ." for role, text in
                                        WORDS.items()})
            for n in range(count)
        ]  # fmt: skip
        put(raw / "PubMed_20k_RCT" / f"{name}.txt", "".join(abstracts).encode())


def _chestxr(raw: Path, data: Path) -> None:
    for split, count in (("train", 8), ("validation", 4)):
        for name in ("covid", "normal", "pneumonia"):
            for path in sorted((data / "xray" / split / name).glob("*.jpg"))[:count]:
                put(raw / split / name / path.name, path.read_bytes())


def _qata(raw: Path, _data: Path) -> None:
    for n in range(12):
        name = f"sub-S{n:05}_ses-E1_run-1_bp-chest_vp-ap_dx.png"
        put_qata(raw / "QaTa-COV19-v2" / ("Train Set" if n < 10 else "Test Set"), name, by=3 * n % 30)


def _ricord(raw: Path, _data: Path) -> None:
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for n in range(12):
        split = "train" if n < 8 else "val" if n < 10 else "test"
        path = f"{(RICORD_B, RICORD_A)[n % 2]}/ID419639-{n:06}_date10-21-2002_2.000000-NA-{n}.nii.gz"
        put(raw / path, volume_bytes(ricord_scan(lungs=(-900, 100)[n % 2])))
        lists[split].append(f"{path} {n % 2}\n")
    for split, lines in lists.items():
        put(raw / "data_split" / f"RICORD_{split}.txt", "".join(lines).encode())


def _lits(raw: Path, _data: Path) -> None:
    for n in range(4):
        put_large_lits(raw / "Training Batch 1", n, by=10 * n - 15)


def _vs(raw: Path, _data: Path) -> None:
    for n in range(1, 5):
        put_vs(raw / "VS-SEG" / f"vs_gk_{n}", vs_head(times=(3, 8, 8), contrast=400), sequences="1")


def _la(raw: Path, data: Path) -> None:
    for split, count in (("train", 2), ("test", 1)):
        cases = (data / "la_mr" / f"{split}.list").read_text().split()[:count]
        put(raw / f"{split}.list", "\n".join(cases).encode())
        for case in cases:
            for name in (f"{case}.nii.gz", f"{case}_label.nii.gz"):
                shutil.copy(data / "la_mr" / name, raw)


def _nct(raw: Path, _data: Path) -> None:
    for number, name in enumerate(NCT_CLASSES):
        colour = np.array([60 + 60 * (number % 3), 60 + 60 * (number // 3), 120])
        for part, count in (("NCT-CRC-HE-100K", 3), ("CRC-VAL-HE-7K", 1)):
            for n in range(count):
                tile = (colour + RNG.integers(-20, 20, (224, 224, 3))).astype(np.uint8)
                put_nct(raw / part, name, tile, n)


def _glas(raw: Path, _data: Path) -> None:
    folder = raw / "Warwick QU Dataset (Released 2016_07_08)"
    put(folder / "Grade.csv", GLAS_GRADES.encode())
    for n, name in enumerate(("train_1", "train_3", "testB_1")):
        put_glas(folder, name, by=40 * n)


@dataclass(frozen=True)
class Case:
    """A published layout, its recipe, what is shortened of the preset, and what has to be reached.

    `reached` is accuracy or Dice on the training split, `held_out` on `split`. By chance, or by calling everything the
    structure, accuracy would be 0.33 or less of three and more classes, 0.5 of two, and Dice 0.31 at most.
    """

    modality: str
    recipe: dict[str, Any]
    lay_out: Callable[[Path, Path], None]
    shorter: dict[str, Any]
    reached: float
    held_out: float
    split: str = "test"


# one epoch of a few steps for volumes: a validation, and a pass over 2.4 million voxels, takes seconds
VOLUMES = {"epochs": 1, "steps_per_epoch": 8, "batch_size": 1, "lr": 5e-3}
CASES = {
    "pubmed20k": Case("report", {"name": "pubmed20k_rct"}, _pubmed,
                      {"epochs": 10, "lr": 2e-3, "batch_size": 16, "vocabulary_size": 400}, 0.9, 0.7),
    "chestxr": Case("xray", {"name": "chestxr"}, _chestxr,
                    {"epochs": 24, "lr": 1e-3, "batch_size": 12, "augment": False}, 0.65, 0.4, "val"),
    "qata": Case("xray", {"name": "qata_cov19"}, _qata, {"epochs": 8, "lr": 3e-3, "batch_size": 4}, 0.8, 0.7),
    "ricord": Case("ct", {"name": "ricord"}, _ricord, {"epochs": 8, "lr": 1e-3}, 0.9, 0.9),
    "lits": Case("ct", {"name": "lits", **WINDOW, **QUARTER}, _lits,
                 VOLUMES | {"steps_per_epoch": 14}, 0.4, 0.3),
    "vs": Case("mr", {"name": "vs_seg", **WINDOW, **QUARTER}, _vs, VOLUMES, 0.8, 0.7),
    "la": Case("mr", {"name": "la_seg", **WINDOW}, _la, VOLUMES | {"steps_per_epoch": 20}, 0.25, 0.2),
    "nct_crc": Case("pathology", {"name": "nct_crc_he"}, _nct, {"epochs": 12, "lr": 1e-3, "batch_size": 9}, 0.7, 0.5),
    "glas": Case("pathology", {"name": "glas"}, _glas, {"epochs": 12, "lr": 3e-3, "batch_size": 1}, 0.8, 0.7),
}  # fmt: skip


@pytest.fixture(scope="module")
def datasets(client: Client, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """All files uploaded and all recipes submitted at once; the prepared dataset of a preset by its name."""
    jobs: dict[str, Job] = {}
    for name, case in CASES.items():
        raw = tmp_path_factory.mktemp(name)
        case.lay_out(raw, real_data)
        uploaded = client.datasets.upload(raw, name=f"preset-{name.replace('_', '-')}", modality=case.modality)
        spec = {"dataset": uploaded.id, "recipe": case.recipe, "max_bad_fraction": 0.0}
        jobs[name] = client.jobs.submit("preprocess", spec)

    def prepared(name: str) -> str:
        return str(client.jobs.wait(jobs[name].id, timeout=600).outputs["dataset"])

    return prepared


@pytest.mark.parametrize("name", CASES)
def test_the_preset_and_the_dataset_are_enough(client: Client, datasets: Callable[[str], str], name: str) -> None:
    task, _, _, *numbers = PUBLISHED[name]
    seen = client.jobs.validate("finetune", {"preset": name, "dataset": datasets(name)})
    assert (seen.valid, seen.errors) == (True, [])
    assert seen.spec is not None
    assert [seen.spec[field] for field in ("epochs", "lr", "batch_size", "steps_per_epoch")] == numbers
    assert (seen.spec["task"], seen.spec["weight_decay"], seen.spec["clip_norm"]) == (task, 1e-4, 12.0)


@pytest.mark.parametrize("name", CASES)
def test_a_preset_learns_and_is_evaluated(client: Client, datasets: Callable[[str], str], name: str) -> None:
    case, dataset = CASES[name], datasets(name)
    metric = "accuracy" if PUBLISHED[name][0] == CLASSIFY else "dice"
    spec = {"preset": name, "dataset": dataset, "size": "tiny", "validate_every": 100, "score_split": case.split}
    trained = client.jobs.wait(client.jobs.submit("finetune", spec | case.shorter).id, timeout=600)
    model = client.models.get(trained.outputs["model"])
    assert model.metrics[f"train/{metric}"] > case.reached
    # what an evaluate job would record: it is scored in the process of the training, which spares the start of one more
    (scored,) = client.evaluations.list(dataset=dataset)
    assert (scored.model_id, scored.split) == (model.id, case.split)
    assert scored.metrics[metric] > case.held_out
