"""The Python client against a real gateway."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import highdicom as hd
import httpx
import numpy as np
import pytest

from medcoss.client import ApiError, Client, InferenceStep
from medcoss.client.inference import Inference
from services.api.app import create_app
from services.cli.main import run
from services.core.settings import Settings
from tests.inference.conftest import KEY, serving
from tests.inference.test_inference_answers import nifti, png


@pytest.fixture(scope="module")
def inference(gateway: httpx.Client) -> Iterator[Inference]:
    url = str(gateway.base_url).rstrip("/")
    with Client(url, KEY, gateway=url) as client:
        yield client.inference


def test_a_folder_of_dicom_files_is_segmented_step_by_step(inference: Inference, real_data: Path) -> None:
    steps: list[InferenceStep] = []
    folder = real_data / "brain_mr_dicom"
    found = inference.segmentation("atrium", folder, format="dicom-seg", progress=steps.append)
    assert (found.suffix, found.classes, found.pixels) == (".dcm", ["left_atrium", "wall"], None)
    assert len(hd.seg.segread(io.BytesIO(found.mask)).segment_numbers) == 2
    assert found.timing_ms.infer > 0
    infer = [step for step in steps if step.stage == "infer"]
    assert infer[-1].done == infer[-1].total > 1 and steps[0].stage == "decode"
    assert inference.measure("atrium", folder).volume_ml == pytest.approx(found.volume_ml)


def test_answers_as_files(inference: Inference, tmp_path: Path) -> None:
    vector = inference.file("chest", "embed", png(0), "npy")
    assert vector.media_type == "application/x-npy"
    expected = inference.embed("chest", png(0)).embedding
    assert np.load(io.BytesIO(vector.content)) == pytest.approx(np.array(expected, np.float32), abs=1e-6)
    nifti(tmp_path)
    picture = inference.segmentation("atrium", tmp_path / "scan.nii.gz", format="overlay", slice=2)
    assert picture.suffix == ".png" and picture.volume_ml is not None
    page = inference.model("atrium")
    assert page.labels[0] == {"label": 1, "name": "left_atrium"} and page.limits["voxels"] > 0


def test_what_is_refused_is_told_alike_with_and_without_progress(inference: Inference, tmp_path: Path) -> None:
    for progress in (None, lambda step: None):
        with pytest.raises(ApiError, match="scan: this is text") as caught:
            inference.segmentation("atrium", b"x" * 400, filename="scan", progress=progress)
        assert caught.value.status == 422
    with pytest.raises(FileNotFoundError, match="holds no files"):
        inference.measure("atrium", tmp_path)


@pytest.fixture(scope="module")
def plane(gateway: httpx.Client, gateway_settings: Callable[..., Settings], redis_url: str) -> Iterator[str]:
    """The address of a control plane that names the gateway. Its log is set up before a test captures output."""
    gateway_url = str(gateway.base_url).rstrip("/")
    with serving(create_app(gateway_settings(gateway_url=gateway_url, redis_url=redis_url))) as client:
        yield str(client.base_url).rstrip("/")


def test_the_command_line(
    plane: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDCOSS_SERVER", plane)
    monkeypatch.setenv("MEDCOSS_KEY", KEY)

    def medcoss(*arguments: object) -> str:
        code = run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        assert code == 0, told.err
        return told.out

    folder = real_data / "brain_mr_dicom"
    assert "left_atrium" in medcoss("segment", "atrium", folder, "--out", "mask.dcm")
    assert hd.seg.segread("mask.dcm").SegmentationType == "BINARY"
    shown = json.loads(medcoss("segment", "atrium", folder, "--format", "overlay", "--slice", 3, "--json"))
    assert Path(shown["mask"]).name == "brain_mr_dicom_overlay.png" and Path(shown["mask"]).is_file()
    Path("a.png").write_bytes(png(0))
    medcoss("embed", "chest", "a.png", "--out", "vectors/a.npy")
    assert np.load("vectors/a.npy").ndim == 1
    assert "covid" in medcoss("classify", "chest", "a.png")
