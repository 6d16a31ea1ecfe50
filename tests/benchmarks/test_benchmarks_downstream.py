"""The benchmark of fine-tuning: steps by the pace of a trial, counted once; a folder belongs to its settings."""

import json
from pathlib import Path

import pytest

from benchmarks.downstream import Work, main


def test_steps_fill_the_time_and_are_counted_once(tmp_path: Path) -> None:
    tried: list[Path] = []

    def trial(folder: Path) -> None:
        tried.append(folder)
        folder.mkdir()
        # the first row is slow, as the first step is
        paces = (0.1, 2.0, 2.0)
        lines = [json.dumps({"step": n, "steps_per_s": pace}) for n, pace in enumerate(paces)]
        (folder / "metrics.jsonl").write_text("\n".join([*lines, json.dumps({"step": 3, "val/dice": 0.5})]) + "\n")

    work = Work(tmp_path, tmp_path, "tiny", 10, published=False)
    assert work.steps("atrium", 1.5, trial) == 180
    assert not tried[0].exists(), "a trial leaves nothing behind"
    assert Work(tmp_path, tmp_path, "tiny", 10, published=False).steps("atrium", 3, trial) == 180
    assert len(tried) == 1


def test_a_folder_of_other_settings_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"size": "base", "minutes": 60, "published": False}))
    with pytest.raises(SystemExit, match="is of other settings; give another --out folder"):
        main(["--out", str(tmp_path), "--data", str(tmp_path), "--minutes", "1"])
