"""The parity command: what is right passes, and whatever is not fails."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.__main__ import main
from tests.parity.check_encoder import compare_features
from tests.parity.folders import write_folder
from tests.parity.goldens import REPOSITORY, Goldens
from tests.parity.models import filled_encoder
from tests.parity.report import Check, Report
from tests.parity.run import HEAVY, run

# what other folders take from the published one
INHERITED = ("fill_checksums.json", "state_dict_keys.json", "downstream_keys.json")


@pytest.fixture
def folder(parity: Path, tmp_path: Path) -> Path:
    """Goldens with other arguments, and nothing else."""
    return write_folder(tmp_path / "other", Goldens(parity).fill)


def failures(folder: Path, only: tuple[str, ...] = ("*",)) -> list[str]:
    report = Report()
    run(folder, report, only, leave_out=INHERITED)
    assert report.ok == (not any(row.verdict == "FAIL" for row in report.rows))
    return [f"{row.file} {row.what}: {row.detail}" for row in report.rows if row.verdict == "FAIL"]


def change(path: Path, name: str, alter: Callable[[np.ndarray], np.ndarray]) -> None:
    """Store an npz file with one array altered."""
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    assert name in arrays
    np.savez(path, **(arrays | {name: alter(arrays[name])}))


def test_published_goldens_that_need_no_whole_model(parity: Path) -> None:
    report = Report()
    run(parity, report, leave_out=HEAVY)
    assert [str(row) for row in report.rows if row.verdict not in ("pass", "note")] == []
    assert {row.file for row in report.rows if row.verdict == "pass"} >= {
        "buffer.npz", "captions.json", "downstream_keys.json", "fill_checksums.json", "intensity_rules.npz",
        "loaders2d.npz", "losses.npz", "lr_schedule.npz", "preprocess.json", "preprocess_ct.npz", "preprocess_mr.npz",
        "rules.json", "state_dict_keys.json", "tile_rule_ct.json", "tile_rule_mr.json",
    }  # fmt: skip


def test_published_encoder_in_float32(parity: Path) -> None:
    report = Report()
    check = Check(Goldens(parity), "encoder.npz", report)
    encoder = filled_encoder(check.goldens, check.arguments["weights"], text=False)
    for kind in ("2d", "3d"):
        compare_features(check, encoder, kind, torch.float32)
    assert [str(row) for row in report.rows if row.verdict != "pass"] == []
    assert len(report.rows) == 10


def test_other_arguments_pass_and_the_rest_comes_from_the_published_folder(folder: Path) -> None:
    report = Report()
    run(folder, report)
    assert [str(row) for row in report.rows if row.verdict == "FAIL"] == []
    assert {row.file for row in report.rows} >= {*INHERITED, "buffer.npz", "losses.npz", "lr_schedule.npz"}
    # golden and ours have no number where every target is unknown
    assert any(row.what == "dice_2d_all_out" and row.verdict == "pass" for row in report.rows)


@pytest.mark.parametrize(
    ("file", "name", "alter", "told"),
    [
        ("losses.npz", "dice_2d_plain__full", lambda a: a * np.float32(1 + 3e-5), "dice_2d_plain:"),
        ("losses.npz", "bce_2d_plain_f64__full", lambda a: a * (1 + 1e-8), "bce_2d_plain_f64:"),
        ("losses.npz", "bce_2d_plain__stats", lambda a: a * 1.001, "bce_2d_plain:"),
        ("losses.npz", "dice_2d_all_out__full", lambda a: np.float32(0), "dice_2d_all_out:"),
        ("losses.npz", "target_2d_plain__full", lambda a: 1 - a, "2d_plain"),
        ("lr_schedule.npz", "lr", lambda a: a + 1e-12, "lr_schedule.npz lr"),
        ("lr_schedule.npz", "min_lr", lambda a: a * 2, "min_lr"),
        ("buffer.npz", "other_selected", lambda a: a[::-1], "other_selected:"),
        ("buffer.npz", "features_check", lambda a: np.nextafter(a, 9), "features_check"),
        ("intensity_rules.npz", "ricord__full", lambda a: a + 1e-3, "ricord"),
        ("intensity_rules.npz", "mots_label_out__full", lambda a: 1 - a, "mots_label_out"),
        ("intensity_rules.npz", "mots__shape", lambda a: a + 1, "mots: shape (77,), expected (78,)"),
    ],
)
def test_altered_goldens_fail(folder: Path, file: str, name: str, alter: Callable, told: str) -> None:
    change(folder / file, name, alter)
    found = failures(folder, (file,))
    assert found and told in "\n".join(found)


def test_an_altered_caption_fails(folder: Path) -> None:
    captions = folder / "captions.json"
    listed = json.loads(captions.read_text())
    listed["reports"][0]["caption"] += "s"
    captions.write_text(json.dumps(listed))
    assert failures(folder, ("captions.json",)) == ["captions.json caption of 2 reports: [0], expected []"]


def test_what_is_missing_or_not_understood_fails(folder: Path, parity: Path) -> None:
    assert failures(folder) == []
    (folder / "losses.npz").unlink()
    np.savez(folder / "wavelets.npz", a=np.zeros(3))
    (folder / "notes.json").write_text("{}")
    with np.load(folder / "lr_schedule.npz") as stored:
        np.savez(folder / "lr_schedule.npz", **{key: stored[key] for key in stored.files}, momentum=np.zeros(2))
    (folder / "buffer.npz").write_bytes(b"no archive")
    found = "\n".join(failures(folder))
    assert "losses.npz : missing: the manifest names it" in found
    assert "wavelets.npz : not understood" in found and "notes.json : not understood" in found
    assert "lr_schedule.npz momentum: not understood" in found
    assert "buffer.npz : the check stopped" in found


def test_a_file_without_a_known_array_is_not_understood(folder: Path) -> None:
    np.savez(folder / "intensity_rules.npz", other=np.zeros(3))
    assert any("other: not understood" in line for line in failures(folder, ("intensity_rules.npz",)))


def test_exit_codes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    only = ["--only", "lr_schedule.npz"]
    assert main([str(folder), *only]) == 0
    printed = capsys.readouterr().out
    assert "all pass" in printed and "5 pass, 0 FAIL" in printed
    change(folder / "lr_schedule.npz", "lr", lambda a: a * 1.01)
    command = [sys.executable, "-m", "tests.parity", str(folder), *only]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 1
    assert "NOT all pass" in done.stdout and "1 FAIL" in done.stdout


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give a folder of goldens"):
        main([str(tmp_path)])
