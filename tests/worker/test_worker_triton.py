"""Triton's model repository, on a real Triton: a version that fails takes no other with it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medcoss.modalities import Kind
from medcoss.run import BadInput
from medcoss.specs.records import DeploymentInfo
from services.core import leftovers
from services.core.db import Database
from services.core.served_names import triton_name
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.embedded.servers import Process, free_port, triton_server
from services.worker.triton import TritonRefused, TritonRepository

CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 4
input [ {{ name: "image", data_type: TYPE_FP32, dims: [ 2 ] }} ]
output [ {{ name: "logits", data_type: TYPE_FP32, dims: [ 2 ] }} ]
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
version_policy {{ all {{ }} }}
"""
MODEL = """
import numpy as np
import triton_python_backend_utils as utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            image = np.from_dlpack(utils.get_input_tensor_by_name(request, "image"))
            # as DLPack: the backend misreads arrays of NumPy 2
            answers.append(utils.InferenceResponse([utils.Tensor.from_dlpack("logits", image * {factor})]))
        return answers
"""


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and model folder of a server."""
    folder, port = tmp_path_factory.mktemp("triton"), free_port()
    with Process(triton_server(folder / "server", port, free_port(), free_port(), folder / "models")):
        yield f"127.0.0.1:{port}", folder / "models"


@pytest.fixture
def repository(settings: Settings, triton: tuple[str, Path]) -> TritonRepository:
    url, folder = triton
    chosen = settings.model_copy(update={"triton_url": url, "triton_model_dir": folder})
    return TritonRepository(chosen, ObjectStore(chosen))


def model(folder: Path, name: str, version: int, source: str = MODEL.format(factor="np.float32(2)")) -> Path:
    """A folder as the export writes it."""
    path = folder / "made" / triton_name(name, version)
    (path / str(version)).mkdir(parents=True)
    (path / "config.pbtxt").write_text(CONFIG.format(name=path.name))
    (path / str(version) / "model.py").write_text(source)
    return path


def described(name: str, version: int) -> DeploymentInfo:
    return DeploymentInfo(
        name=name, task="classification", modality="xray", kind=Kind.IMAGE2D, triton_model=triton_name(name, version),
        version=version, sample_shape=[2], recipe={}, input_names=["image"], output_names=["logits"], max_difference=0,
    )  # fmt: skip


def golden(folder: Path, factor: float) -> Path:
    image = np.array([[1.0, 2.0]], np.float32)
    np.savez(folder / "golden.npz", image=image, expected_logits=image * np.float32(factor))
    return folder / "golden.npz"


def served(repository: TritonRepository) -> set[str]:
    return {entry["name"] for entry in repository.client.get_model_repository_index() if entry.get("state") == "READY"}


def test_versions_stand_side_by_side(repository: TritonRepository, tmp_path: Path) -> None:
    for version in (1, 2):
        repository.add(model(tmp_path, "side", version, MODEL.format(factor=f"np.float32({version})")))
    for version in (1, 2):
        assert repository.compare(described("side", version), golden(tmp_path, version), 1e-6) == 0
    keys = repository.store.list_keys("triton/")
    assert "triton/side.1/1/model.py" in keys and "triton/side.2/config.pbtxt" in keys


def test_a_version_that_cannot_be_loaded_leaves_the_others_alone(repository: TritonRepository, tmp_path: Path) -> None:
    repository.add(model(tmp_path, "broken", 1))
    with pytest.raises(TritonRefused, match="cannot load"):
        repository.add(model(tmp_path, "broken", 2, "this is no Python"))
    repository.remove("broken.2")
    assert "broken.1" in served(repository) and "broken.2" not in served(repository)
    assert {key.split("/")[1] for key in repository.store.list_keys("triton/")} == {"broken.1"}
    assert repository.folder is not None
    assert {p.name for p in repository.folder.glob("broken.*")} == {"broken.1"}


def test_other_answers_than_pytorch_are_refused(repository: TritonRepository, tmp_path: Path) -> None:
    repository.add(model(tmp_path, "drift", 1))
    difference = repository.compare(described("drift", 1), golden(tmp_path, np.float32(2.0001)), 1e-3)
    assert difference == pytest.approx(2e-4, rel=0.01)
    with pytest.raises(BadInput, match=r"differ from PyTorch's by 2\.00e-04, allowed is 1e-05"):
        repository.compare(described("drift", 1), golden(tmp_path, np.float32(2.0001)), 1e-5)


def test_a_model_that_breaks_when_it_runs(repository: TritonRepository, tmp_path: Path) -> None:
    repository.add(model(tmp_path, "fails", 1, MODEL.format(factor="None")))
    with pytest.raises(TritonRefused, match="cannot run"):
        repository.compare(described("fails", 1), golden(tmp_path, 2.0), 1e-3)


def test_what_a_killed_export_has_loaded_is_withdrawn(
    repository: TritonRepository, database: Database, tmp_path: Path
) -> None:
    for version in (1, 2):
        repository.add(model(tmp_path, "orphan", version))
    with database.session() as session:
        leftovers.add(session, "triton/orphan.2/")
        # one that was reserved, and whose attempt died before it had stored anything
        leftovers.add(session, "triton/orphan.3/")
    assert leftovers.clean(database, repository.store, repository.withdraw, 30) == 2
    assert {name for name in served(repository) if name.startswith("orphan")} == {"orphan.1"}
    assert {key.split("/")[1] for key in repository.store.list_keys("triton/")} == {"orphan.1"}


def test_triton_that_is_away_postpones_the_removal(settings: Settings, database: Database, tmp_path: Path) -> None:
    chosen = settings.model_copy(update={"triton_url": f"127.0.0.1:{free_port()}", "triton_model_dir": tmp_path})
    repository = TritonRepository(chosen, ObjectStore(chosen))
    repository.store.put_bytes("triton/late.1/config.pbtxt", b"x")
    with database.session() as session:
        leftovers.add(session, "triton/late.1/")
    assert leftovers.clean(database, repository.store, repository.withdraw, 30) == 0
    assert repository.store.list_keys("triton/late.1/") != []
