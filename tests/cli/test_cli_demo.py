"""The demo's lines do what the demo did, and its report shows them."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medcoss.client import Client
from medcoss.specs import JOB_KINDS
from services.cli.demo.plan import CLASSIFIER, SEGMENTER, STAGES, buffer_spec, pretrain_spec
from services.cli.demo.recorder import Recorder, Step, StepFailed, curl_json, curl_upload
from services.cli.demo.report import Figure, Report, Section, write_report
from tests.medcoss.client.control_plane import KEY, ControlPlane

ID = "0" * 20
DATASET, MODEL = f"ds_{ID}", f"mdl_{ID}"


def shell(script: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", f"set -euo pipefail\n{script}"], cwd=folder, env=os.environ | {"MEDCOSS_KEY": KEY},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_spec_of_the_plan_is_valid() -> None:
    buffers: list[str] = []
    for number, stage in enumerate(STAGES):
        JOB_KINDS["preprocess"].spec.model_validate({"dataset": DATASET, "recipe": stage.recipe})
        JOB_KINDS["pretrain"].spec.model_validate(pretrain_spec(stage, DATASET, MODEL if number else None, buffers))
        JOB_KINDS["build_buffer"].spec.model_validate(buffer_spec(stage, DATASET, MODEL))
        buffers.append(DATASET)
    for settings in (CLASSIFIER, SEGMENTER):
        JOB_KINDS["finetune"].spec.model_validate(settings | {"dataset": DATASET, "init_model": MODEL})
    assert [stage.modality for stage in STAGES] == ["report", "xray", "ct", "mr", "pathology"]


def test_the_curl_lines_do_what_the_command_line_does(plane: ControlPlane, tmp_path: Path) -> None:
    folder = tmp_path / "two words"
    (folder / "train" / "a").mkdir(parents=True)
    for name in ("one.png", "it's two.png"):
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "train" / "a" / name)
    recorder = Recorder(plane.url, "", dict(os.environ), lambda _: None)
    uploaded = recorder.run("upload", ["datasets", "upload", str(folder), "--name", "cli", "--modality", "xray"], "")
    shell(curl_upload(plane.url, "curl", "xray", folder), tmp_path)
    with Client() as client:
        by_curl = next(dataset for dataset in client.datasets.list() if dataset.name == "curl")
        assert by_curl.state == "ready"
        found = [
            sorted((f.path, f.size, f.sha256) for f in client.datasets.files(d)) for d in (by_curl.id, uploaded["id"])
        ]
        assert found[0] == found[1]

        spec = {"dataset": by_curl.id, "recipe": STAGES[1].recipe}
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(spec))
        job = recorder.run("job", ["jobs", "submit", "preprocess", "--name", "it's a job", "--spec", str(path)], "")
        line = curl_json(f"{plane.url}/v1/jobs", {"kind": "preprocess", "name": "it's a job", "spec": spec})
        again = json.loads(shell(line, tmp_path))
        assert again["id"] != job["id"]
        assert (again["name"], again["spec"]) == (job["name"], job["spec"])
    # the line that is shown is the one that was run
    assert shlex.split(recorder.steps[0].cli)[:3] == ["medcoss", "datasets", "upload"]


def test_a_step_that_fails_says_which_line_and_why(plane: ControlPlane) -> None:
    recorder = Recorder(plane.url, "", dict(os.environ), lambda _: None)
    with pytest.raises(StepFailed, match=r"medcoss jobs show job_unknown\n(.|\n)*job_unknown"):
        recorder.run("show", ["jobs", "show", "job_unknown"], "")


def test_the_report_is_one_escaped_page(tmp_path: Path) -> None:
    step = Step(
        "upload <b>", "medcoss datasets upload 'a<b'", "curl -d '{\"a\": 1}' http://x", 1.0, 3.5, "upload", "job_1"
    )
    section = Section("Part", "Text & more", [Figure("a.png", "What it shows", [step])], [["name"], ["1 < 2"]])
    write_report(Report({"time": "5 s"}, [section], [step], "medcoss up"), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    for shown in (
        "medcoss datasets upload &#39;a&lt;b&#39;",
        "Text &amp; more",
        "1 &lt; 2",
        'src="a.png"',
        "2.5 s",
        "job_1",
    ):
        assert shown in page
    assert "<b>" not in page


def test_the_demo_is_told_why_it_cannot_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.cli.main", "demo", "--out", str(tmp_path), "--server", "http://127.0.0.1:9"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr
