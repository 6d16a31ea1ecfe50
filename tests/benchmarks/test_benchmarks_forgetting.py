"""The forgetting benchmark, on data small enough to run in seconds."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from benchmarks import forgetting
from medcoss.specs.encoder import SIZES
from tests.medcoss.export.small_models import CONFIG
from tests.medcoss.training.small import SENTENCES

SMALL = partial(
    forgetting.Plan, xray_size=(32, 48), mr_size=(16, 32, 32), mr_stride=8, batch_size=4, steps=(4, 5, 6),
    vocabulary_size=256, buffer_fraction=0.3, probe_steps=2, masks=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real files laid out like the test data."""
    root, rng = tmp_path_factory.mktemp("raw"), np.random.default_rng(0)
    (root / "reports").mkdir()
    with (root / "reports" / "reports.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["study_id", "findings", "impression", "split"])
        for i in range(40):
            split = "train" if i < 30 else "val"
            # the last five repeat the first five
            table.writerow([f"s{i}", SENTENCES[i % 35 % 7], f"case number {i % 35} {SENTENCES[i % 35 % 6]}", split])
    for split, count in (("train", 8), ("validation", 3)):
        for label in ("covid", "normal", "pneumonia"):
            folder = root / "xray" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 255, (40, 50), dtype=np.uint8)).save(folder / f"{i}.png")
    for i in range(6):
        folder = root / ("la_mr" if i % 2 else "brain_mr")
        folder.mkdir(exist_ok=True)
        volume = rng.normal(size=(32, 32, 32)).astype(np.float32)
        for name, values in ((f"{i}.nii.gz", volume), (f"{i}_label.nii.gz", (volume > 1).astype(np.uint8))):
            sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / name))
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of a few steps on an encoder of three blocks."""
    monkeypatch.setitem(SIZES, "tiny", CONFIG)
    monkeypatch.setattr(forgetting, "Plan", SMALL)


def test_all_arms_are_trained_alike_and_a_seed_that_is_done_is_kept(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--data", str(raw), "--out", str(tmp_path / "out"), "--seeds", "1"]
    assert forgetting.main(arguments) == 0
    printed = capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "seed-0.json").read_text())
    assert set(result["measures"]["after mr"]) == set(forgetting.ARMS)
    assert {"distill/report", "distill/xray"} & set(result["training"]["continual_mr"])
    assert not any(name.startswith("distill") for name in result["training"]["sequential_mr"])
    # no label map became a volume
    assert len(list((tmp_path / "out" / "data" / "raw" / "mr").rglob("*.nii.gz"))) == 6
    lines = [line for line in printed.splitlines() if line.startswith("seed 0 [")]
    assert lines[-1].startswith("seed 0 [100%") and "0.0 min left] xray with a fresh head" in lines[-1]
    assert not any("[100%" in line for line in lines[:-1])
    assert sum(" fresh head" in line for line in lines) == forgetting.PROBED

    monkeypatch.setattr(forgetting, "run_seed", None)
    assert forgetting.main(arguments) == 0
    assert capsys.readouterr().out.split("\n\n")[1:] == printed.split("\n\n")[1:]

    monkeypatch.setattr(forgetting, "Plan", partial(SMALL, peak_lr=1.0))
    with pytest.raises(SystemExit, match=r"plan.json is of other settings; give another --out folder"):
        forgetting.main(arguments)


def test_held_out_reports_are_none_of_training(raw: Path, tmp_path: Path) -> None:
    data = forgetting.prepare(SMALL(), raw, tmp_path)
    texts = [data.reports.text(i) for i in range(len(data.reports))]
    trained = {texts[int(i)] for i in data.reports.indices("train")}
    assert 0 < len(data.held_out_reports) < 10
    assert not trained & {texts[int(i)] for i in data.held_out_reports}


def result(seed: int, after: dict[str, float], before: dict[str, float]) -> forgetting.Result:
    keys = [row.key for row in forgetting.ROWS]
    return {
        "seed": seed,
        "measures": {
            "after report": {"both": dict.fromkeys(keys, before["both"])},
            "after xray": {arm: dict.fromkeys(keys, before[arm]) for arm in ("continual", "sequential")},
            "after mr": {arm: dict.fromkeys(keys, value) for arm, value in after.items()},
        },
    }


def test_forgetting_is_how_much_worse_a_measure_became() -> None:
    before = {"both": 3.0, "continual": 2.0, "sequential": 2.5}
    after = {"continual": 1.5, "sequential": 1.0, "scratch": 0.5, "untrained": 0.25}
    found = [result(0, after, before), result(1, after | {"continual": 0.5}, before)]
    accuracy, loss, report = (forgetting.ROWS[i] for i in (0, 3, 5))
    assert forgetting.forgotten(found[0], accuracy, "sequential") == 1.5
    assert forgetting.forgotten(found[0], loss, "sequential") == -1.5
    assert forgetting.forgotten(found[0], report, "continual") == -1.5
    lines = forgetting.table(found).splitlines()
    assert "| X-ray linear probe, accuracy | 1.000 ± 0.707 | 1.000 ± 0.000 | 0.500 ± 0.000 | 0.250 ± 0.000 |" in lines
    assert "| X-ray linear probe, accuracy | 1.000 ± 0.707 | 1.500 ± 0.000 | 0.500 ± 0.707 | 1 of 2 seeds |" in lines
    assert "| X-ray linear probe, accuracy | 1.500 / 0.500 | 1.000 / 1.000 | 0.500 / 0.500 | 0.250 / 0.250 |" in lines
