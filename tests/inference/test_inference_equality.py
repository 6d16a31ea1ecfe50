"""On real files, what comes over HTTP is what PyTorch and the evaluation say, where the file says."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.predict import segmented_cases
from medcoss.evaluation.windows import Sliding
from medcoss.models.registry import encoder_for, load_model
from medcoss.preprocess.postprocess import largest_component
from medcoss.preprocess.run import preprocess
from medcoss.preprocess.volumes import from_lps, geometry
from medcoss.run import LocalRun
from medcoss.specs.preprocess import PreprocessSpec, VolumeFolder
from medcoss.specs.records import DeploymentInfo
from services.core.db import Database
from services.core.registry import ready_deployment, register_deployment
from services.core.scope import EVERYTHING
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT
from tests.inference.conftest import Exported, Repository
from tests.inference.test_inference_answers import expected_probabilities, pipeline, torch_answer, torch_segmented
from tests.inference.test_inference_formats import volume_of, zipped

ATRIUM = "/v1/models/atrium/segment"


def close(found: list[float], expected: torch.Tensor) -> bool:
    """Within 1e-3 of the length of the vector."""
    wanted = expected.numpy()
    return bool(np.linalg.norm(np.array(found) - wanted) <= 1e-3 * np.linalg.norm(wanted))


def embedded(exported: Exported, *inputs: np.ndarray) -> torch.Tensor:
    module, info = load_model(exported.model_dir)
    with torch.inference_mode():
        return encoder_for(module, info, exported.info.modality)(*map(torch.from_numpy, inputs)).mean(dim=0)


def test_radiographs(gateway: httpx.Client, repository: Repository, real_data: Path) -> None:
    exported = repository.models["chest"]
    paths = [real_data / "xray" / "dicom" / "cr_mono1_10bit_real.dcm",
             sorted((real_data / "xray" / "train" / "normal").glob("*.jpg"))[0]]  # fmt: skip
    for path in paths:
        data = path.read_bytes()
        answer = gateway.post("/v1/models/chest/classify", content=data).json()
        assert list(answer["probabilities"].values()) == pytest.approx(expected_probabilities(exported, data), abs=1e-3)
        _, features = torch_answer(exported, pipeline(exported).image(data, path.name))
        assert close(gateway.post("/v1/models/chest/embed", content=data).json()["embedding"], features[0])


def test_reports(gateway: httpx.Client, repository: Repository, real_data: Path) -> None:
    exported = repository.models["reports"]
    table = next((real_data / "reports").rglob("*.csv"))
    with table.open(newline="", encoding="utf-8-sig") as file:
        row = next(csv.DictReader(file))
    text = max(row.values(), key=len)
    encoded = pipeline(exported).text(text, Tokenizer(exported.model_dir / "vocab.txt"))
    answer = gateway.post("/v1/models/reports/embed", json={"text": text}).json()
    assert close(answer["embedding"], embedded(exported, encoded.ids[None], encoded.attention[None]))


def test_embedded_volumes(gateway: httpx.Client, repository: Repository, real_data: Path) -> None:
    exported = repository.models["volumes"]
    path = real_data / "brain_mr" / "brainix_flair.nii.gz"
    windows = pipeline(exported).volume(path.read_bytes(), path.name).windows
    answer = gateway.post("/v1/models/volumes/embed", content=path.read_bytes()).json()
    assert close(answer["embedding"], embedded(exported, windows))
    # the same scan as the scanner sent it, which a converter rescaled
    series = gateway.post("/v1/models/volumes/embed", content=zipped(real_data / "brain_mr_dicom")).json()
    assert len(series["embedding"]) == len(answer["embedding"])


def test_a_volume_is_segmented_as_evaluation_does(
    gateway: httpx.Client, repository: Repository, real_data: Path, tmp_path: Path
) -> None:
    exported = repository.models["atrium"]
    case = (real_data / "la_mr" / "test.list").read_text().split()[0]
    for ending in ("", "_label"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        shutil.copy(real_data / "la_mr" / f"{case}{ending}.nii.gz", tmp_path / "raw")
    recipe = VolumeFolder(**exported.info.recipe | {"label_names": ("left_atrium", "wall")})
    spec = PreprocessSpec(dataset="ds_00000000", recipe=recipe, max_bad_fraction=0)
    preprocess(spec, tmp_path / "raw", tmp_path / "dataset", LocalRun(tmp_path / "run"))
    reader = ShardReader(tmp_path / "dataset")
    module, info = load_model(exported.model_dir)
    (evaluated,) = segmented_cases(module, reader, np.arange(len(reader)), Sliding(tuple(info.sample_shape[1:]), 4))
    assert evaluated.original

    path = tmp_path / "raw" / f"{case}.nii.gz"
    image = sitk.ReadImage(str(path))
    mask = volume_of(gateway.post(ATRIUM, content=path.read_bytes()), tmp_path)
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-5)
    expected = sitk.GetArrayFromImage(from_lps(evaluated.predicted, geometry(image)))
    differs = sitk.GetArrayFromImage(mask) != expected
    assert 0.02 < (expected > 0).mean() < 0.98, "a mask that says something"
    near = near_threshold(exported, path)
    assert not (differs & ~near).any(), f"{differs.sum()} voxels differ"


def test_masks_are_post_processed_as_the_model_says(
    gateway: httpx.Client, gateway_settings: Callable[..., Settings], real_data: Path, tmp_path: Path
) -> None:
    data = (real_data / "brain_mr" / "brainix_flair.nii.gz").read_bytes()
    plain = sitk.GetArrayFromImage(volume_of(gateway.post(ATRIUM, content=data), tmp_path))
    with Database(gateway_settings().database_url).session() as session:
        row = ready_deployment(session, EVERYTHING, "atrium")
        steps = [{"step": "largest_component", "of": "wall"}]
        info = DeploymentInfo.model_validate(row.info | {"name": "atrium-one", "postprocess": steps})
        register_deployment(
            session, "dep_postprocess", info=info, model_id=row.model_id, job_id="job_x", project_id=DEFAULT_PROJECT
        )
    try:
        answer = gateway.post("/v1/models/atrium-one/segment", content=data)
        found = sitk.GetArrayFromImage(volume_of(answer, tmp_path)) == 2
        assert gateway.get("/v1/models/atrium-one").json()["postprocess"] == steps
    finally:
        with Database(gateway_settings().database_url).session() as session:
            session.delete(ready_deployment(session, EVERYTHING, "atrium-one"))
    wall = plain == 2
    assert np.array_equal(found, largest_component(wall)) and found.sum() < wall.sum()


def near_threshold(exported: Exported, path: Path) -> np.ndarray:
    """Where a class has a probability within 1e-3 of one half, on the file's own grid."""
    request, blended = torch_segmented(exported, path.read_bytes())
    near = [np.abs(channel - 0.5) < 1e-3 for channel in request.channels(blended)]
    return request.own(np.any(near, axis=0))


@pytest.mark.parametrize("flip", [False, True])
def test_oblique_and_flipped_axes_come_back(
    gateway: httpx.Client, repository: Repository, tmp_path: Path, flip: bool
) -> None:
    exported = repository.models["atrium"]
    angle = np.deg2rad(23)
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    if flip:
        turned = turned @ np.diag([-1, 1, -1])
    image = sitk.GetImageFromArray(np.random.default_rng(8).normal(100, 30, (18, 24, 30)).astype(np.float32))
    image.SetSpacing((0.9, 1.2, 3.0))
    image.SetOrigin((40.0, -12.5, 7.25))
    image.SetDirection(turned.ravel().tolist())
    path = tmp_path / "scan.nii.gz"
    sitk.WriteImage(image, str(path))
    mask = volume_of(gateway.post(ATRIUM, content=path.read_bytes()), tmp_path)
    for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-5)
    request, blended = torch_segmented(exported, path.read_bytes())
    masks = [request.own(channel > 0.5) for channel in request.channels(blended)]
    differs = sitk.GetArrayFromImage(mask) != np.where(masks[1], 2, masks[0])
    assert not (differs & ~near_threshold(exported, path)).any()
