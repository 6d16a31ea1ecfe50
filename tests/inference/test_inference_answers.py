"""What the gateway answers is what PyTorch answers for the same file."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from medcoss.data.tokenizer import Tokenizer
from medcoss.models.registry import encoder_for, load_model
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.serving import SegmentRequest, ServingPipeline
from medcoss.preprocess.volumes import to_label_map, to_masks
from tests.inference.conftest import Exported, Repository


def png(seed: int, size: tuple[int, int] = (80, 100)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def nifti(folder: Path, slices: int = 25) -> bytes:
    """A volume that is turned and has unequal spacing."""
    values = np.random.default_rng(1).normal(100, 30, (slices, 40, 50)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.8, 1.1, 2.5))
    image.SetOrigin((-11.0, 23.0, -7.5))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    path = folder / "scan.nii.gz"
    sitk.WriteImage(image, str(path))
    return path.read_bytes()


def torch_answer(exported: Exported, *inputs: np.ndarray) -> Any:
    module, _ = load_model(exported.model_dir)
    with torch.inference_mode():
        return module(*(torch.from_numpy(array) for array in inputs))


def pipeline(exported: Exported) -> ServingPipeline:
    return ServingPipeline(exported.info.recipe, exported.info.kind, exported.info.findings)


def torch_segmented(exported: Exported, data: bytes) -> tuple[SegmentRequest, np.ndarray]:
    """A volume as a segmenter takes it, and PyTorch's blended probabilities (K, D, H, W)."""
    request = pipeline(exported).segmented(read_volume(data, "scan.nii.gz"), tuple(exported.info.sample_shape[1:]))
    answers = (torch.sigmoid(torch_answer(exported, windows)).numpy() for windows in request.batches(4))
    return request, request.blended(answers)


def expected_probabilities(exported: Exported, data: bytes) -> list[float]:
    logits, _ = torch_answer(exported, pipeline(exported).image(data, "a.png"))
    return torch.softmax(logits, dim=1)[0].tolist()


def test_classify_answers_as_pytorch(gateway: httpx.Client, repository: Repository) -> None:
    data = png(0)
    answer = gateway.post("/v1/models/chest/classify", files={"file": ("a.png", data)})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["model"], body["version"]) == ("chest", 2)
    assert list(body["probabilities"]) == ["covid", "normal", "pneumonia"]
    expected = expected_probabilities(repository.models["chest"], data)
    assert list(body["probabilities"].values()) == pytest.approx(expected, abs=1e-3)
    assert body["prediction"] == list(body["probabilities"])[int(np.argmax(expected))]
    assert 0 < body["timing_ms"]["infer"] <= body["timing_ms"]["total"]
    assert expected != pytest.approx(expected_probabilities(repository.retired, data), abs=1e-2), "versions differ"


@pytest.mark.parametrize(
    "headers", [{"X-Filename": "a.png"}, {"Content-Disposition": "attachment; filename=a.png"}, {}], ids=str
)
def test_raw_body_is_the_same_as_a_form(gateway: httpx.Client, headers: dict[str, str]) -> None:
    form = gateway.post("/v1/models/chest/classify", files={"file": ("a.png", png(0))}).json()
    raw = gateway.post("/v1/models/chest/classify", content=png(0), headers=headers).json()
    assert raw["probabilities"] == pytest.approx(form["probabilities"], abs=1e-6)


def test_requests_at_once_keep_their_own_answers(gateway: httpx.Client, repository: Repository) -> None:
    images = [png(seed) for seed in range(12)]

    def classify(data: bytes) -> list[float]:
        answer = gateway.post("/v1/models/chest/classify", content=data)
        return list(answer.json()["probabilities"].values())

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(classify, images))
    for data, probabilities in zip(images, found, strict=True):
        assert probabilities == pytest.approx(expected_probabilities(repository.models["chest"], data), abs=1e-3)


def test_dicom_is_decoded(gateway: httpx.Client, real_data: Path) -> None:
    data = (real_data / "xray" / "dicom" / "cr_mono2_8bit.dcm").read_bytes()
    answer = gateway.post("/v1/models/chest/classify", files={"file": ("study.dcm", data)})
    assert answer.status_code == 200, answer.text
    assert sum(answer.json()["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_embedding_of_a_classifier(gateway: httpx.Client, repository: Repository) -> None:
    exported = repository.models["chest"]
    answer = gateway.post("/v1/models/chest/embed", content=png(3)).json()
    _, expected = torch_answer(exported, pipeline(exported).image(png(3), "a.png"))
    assert answer["embedding"] == pytest.approx(expected[0].tolist(), abs=1e-3)


def test_embedding_of_a_report(gateway: httpx.Client, repository: Repository) -> None:
    exported = repository.models["reports"]
    text = "word1 word22 and then word3 word4 nothing else."
    answer = gateway.post("/v1/models/reports/embed", json={"text": text})
    assert answer.status_code == 200, answer.text
    encoded = pipeline(exported).text(text, Tokenizer(exported.model_dir / "vocab.txt"))
    module, info = load_model(exported.model_dir)
    with torch.inference_mode():
        expected = encoder_for(module, info, "report")(
            torch.from_numpy(encoded.ids[None]), torch.from_numpy(encoded.attention[None])
        )
    assert answer.json()["embedding"] == pytest.approx(expected[0].tolist(), abs=1e-3)
    other = gateway.post("/v1/models/reports/embed", json={"text": "word7 word8 word9 word10"}).json()
    assert other["embedding"] != pytest.approx(answer.json()["embedding"], abs=1e-2)


def test_embedding_of_a_volume_is_the_mean_over_its_windows(
    gateway: httpx.Client, repository: Repository, tmp_path: Path
) -> None:
    exported, data = repository.models["volumes"], nifti(tmp_path)
    answer = gateway.post("/v1/models/volumes/embed", files={"file": ("scan.nii.gz", data)})
    assert answer.status_code == 200, answer.text
    windows = pipeline(exported).volume(data, "scan.nii.gz").windows
    assert len(windows) > 1
    module, info = load_model(exported.model_dir)
    with torch.inference_mode():
        expected = encoder_for(module, info, "mr")(torch.from_numpy(windows)).mean(dim=0)
    assert answer.json()["embedding"] == pytest.approx(expected.tolist(), abs=1e-3)


# fewer slices than a window is deep, and more windows than Triton takes in one batch
@pytest.mark.parametrize("slices", [10, 70])
def test_segmented_volume_fits_the_input(
    gateway: httpx.Client, repository: Repository, tmp_path: Path, slices: int
) -> None:
    exported, data = repository.models["atrium"], nifti(tmp_path, slices)
    answer = gateway.post("/v1/models/atrium/segment", files={"file": ("scan.nii.gz", data)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/gzip"
    assert answer.headers["x-model-version"] == "1"
    assert json.loads(answer.headers["x-class-names"]) == ["left_atrium", "wall"]
    (tmp_path / "mask.nii.gz").write_bytes(answer.content)
    image, mask = sitk.ReadImage(str(tmp_path / "scan.nii.gz")), sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-5)

    request, blended = torch_segmented(exported, data)
    masks = np.stack([to_masks(channel) for channel in request.channels(blended)])
    (tmp_path / "expected.nii.gz").write_bytes(request.to_nifti(masks))
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "expected.nii.gz")))
    found = sitk.GetArrayFromImage(mask)
    assert 0.02 < (expected > 0).mean() < 0.98, "a mask that says something"
    assert (found == expected).mean() > 0.999

    voxel_ml = 0.8 * 1.1 * 2.5 / 1000
    millilitres = json.loads(answer.headers["x-volume-ml"])
    assert millilitres["left_atrium"] == pytest.approx(masks[0].sum() * voxel_ml, rel=0.01), "what the wall covers, too"
    assert millilitres["wall"] == pytest.approx((found == 2).sum() * voxel_ml, rel=1e-4)
    counted = gateway.post("/v1/models/atrium/segment?format=json", files={"file": ("scan.nii.gz", data)}).json()
    assert counted["volume_ml"] == pytest.approx(millilitres, rel=1e-4)
    assert counted["pixels"] is None


def test_segmented_image_has_the_size_of_the_input(gateway: httpx.Client, repository: Repository) -> None:
    exported, data = repository.models["lungs"], png(4, (90, 70))
    answer = gateway.post("/v1/models/lungs/segment", files={"file": ("a.png", data)})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    found = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert found.shape == (90, 70)
    logits = torch_answer(exported, pipeline(exported).image(data, "a.png"))
    masks = pipeline(exported).image_masks(torch.sigmoid(logits)[0].numpy(), (90, 70))
    assert (found == to_label_map(masks)).mean() > 0.999
    assert list(json.loads(answer.headers["x-pixels"]).values()) == pytest.approx(masks.sum((1, 2)), abs=6)


def test_served_models(gateway: httpx.Client) -> None:
    items = {item["name"]: item for item in gateway.get("/v1/models").json()["items"]}
    assert list(items) == ["atrium", "chest", "lungs", "reports", "volumes"]
    assert items["chest"]["version"] == 2
    assert items["chest"]["calls"] == ["classify", "embed"]
    assert items["atrium"]["classes"] == ["left_atrium", "wall"]


def test_earlier_versions_stay_loaded(repository: Repository) -> None:
    for version in (1, 2):
        assert httpx.get(f"http://{repository.url}/v2/models/chest/versions/{version}/ready").status_code == 200


def test_good_answers_leave_no_complaint_in_the_log(gateway: httpx.Client, repository: Repository) -> None:
    assert gateway.post("/v1/models/chest/classify", content=png(0)).status_code == 200
    assert "Traceback" not in repository.log.read_text(errors="replace")
