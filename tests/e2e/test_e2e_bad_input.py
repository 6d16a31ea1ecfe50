"""Bad input ends in a problem that names the field or the file, and leaves nothing behind."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from medcoss.client import ApiError, Client, JobFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def write_png(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)


def names(client: Client) -> set[str]:
    return {dataset.name for dataset in client.datasets.list()}


def pointers(error: ApiError) -> list[str]:
    return [entry.pointer for entry in error.errors]


def test_unknown_modality(client: Client, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png")
    with pytest.raises(ApiError) as caught:
        client.datasets.upload(tmp_path, name="bad-modality", modality="xrey")
    assert caught.value.status == 422
    assert pointers(caught.value) == ["/modality"]
    assert "xray" in str(caught.value)
    assert "bad-modality" not in names(client)


def test_wrong_spec_field(client: Client) -> None:
    spec = {"dataset": "ds_00000000000000000000", "batchsize": 4, "mask_ratio": 1.5}
    with pytest.raises(ApiError) as caught:
        client.jobs.submit("pretrain", spec)
    assert caught.value.status == 422
    assert {"/spec/batchsize", "/spec/mask_ratio"} <= set(pointers(caught.value))


def test_missing_dataset(client: Client) -> None:
    before = len(list(client.jobs.list()))
    with pytest.raises(ApiError) as caught:
        client.jobs.submit("pretrain", {"dataset": "ds_00000000000000000000"})
    assert caught.value.status == 422
    assert pointers(caught.value) == ["/spec/dataset"]
    assert "ds_00000000000000000000" in str(caught.value)
    assert len(list(client.jobs.list())) == before


def test_text_named_png(client: Client, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("this is no picture\n" * 20)
    write_png(tmp_path / "good.png")
    raw = client.datasets.upload(tmp_path, name="with-notes", modality="xray")
    job = client.jobs.submit("preprocess", {"dataset": raw.id, "recipe": {"name": "image_folder"}})
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait(job.id, timeout=120)
    assert "notes.png" in str(caught.value)
    assert client.jobs.get(job.id).attempt == 1, "bad data is not tried again"
    assert not [dataset for dataset in client.datasets.list() if dataset.job_id == job.id]


def test_empty_folder(client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        client.datasets.upload(tmp_path, name="nothing", modality="xray")
    assert "nothing" not in names(client)


def test_nifti_with_two_dimensions(client: Client, tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 8), np.float32)), str(tmp_path / "flat.nii.gz"))
    raw = client.datasets.upload(tmp_path, name="flat", modality="mr")
    job = client.jobs.submit("preprocess", {"dataset": raw.id, "recipe": {"name": "volume_folder"}})
    with pytest.raises(JobFailed) as caught:
        client.jobs.wait(job.id, timeout=120)
    assert "flat.nii.gz" in str(caught.value)
    assert "2" in str(caught.value)


def test_upload_over_the_limit(client: Client) -> None:
    with pytest.raises(ApiError) as caught:
        client.datasets.register(
            "huge", modality="mr", files=[{"path": "scan.nii.gz", "size": 101 * 2**30, "sha256": "0" * 64}]
        )
    assert caught.value.status == 413
    assert "scan.nii.gz" in str(caught.value)
    assert "huge" not in names(client)


@pytest.mark.parametrize("call", ["classify", "segment", "embed"])
def test_unknown_model(client: Client, tmp_path: Path, call: str) -> None:
    write_png(tmp_path / "a.png")
    with pytest.raises(ApiError) as caught:
        getattr(client.inference, call)("no-such-model", tmp_path / "a.png")
    assert caught.value.status == 404
    assert "no-such-model" in str(caught.value)


def test_a_wrong_key_opens_nothing(client: Client) -> None:
    stranger = Client(server=client.server, key="mk_wrong")
    with pytest.raises(ApiError) as caught:
        list(stranger.jobs.list())
    assert caught.value.status == 401
