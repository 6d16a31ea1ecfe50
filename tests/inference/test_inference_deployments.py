"""Versions side by side on a real Triton: none takes another down, and who asks is always answered."""

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from medcoss.export import golden
from medcoss.models.registry import load_model
from medcoss.specs.records import GOLDEN, DeploymentInfo
from services.core import aliases, deletion, deployments, leftovers
from services.core.db import Database
from services.core.registry import register_deployment
from services.core.scope import EVERYTHING
from services.core.served_names import triton_name
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT, Deployment
from services.worker.keeper import Keeper
from services.worker.triton import TritonRepository
from tests.inference.conftest import Exported, Repository
from tests.inference.test_inference_answers import png
from tests.worker.work import until

NAME = "switched"


@dataclass(frozen=True)
class Platform:
    """The database and the Triton that the gateway asks, with two versions of one name; the first one answers."""

    database: Database
    repository: TritonRepository
    keeper: Keeper
    infos: list[DeploymentInfo]

    def state(self, number: int) -> Deployment:
        with self.database.reading() as session:
            return session.get_one(Deployment, f"dep_switched{number}")

    def activate(self, number: int) -> None:
        with self.database.session() as session:
            deployments.activate(session, EVERYTHING, f"dep_switched{number}")


def renamed(source: Path, exported: Exported, work: Path) -> DeploymentInfo:
    """A version that was exported, in a folder of its own as the platform has it, with PyTorch's answer to an input."""
    version, name = exported.info.version, triton_name(NAME, exported.info.version)
    shutil.copytree(source / "chest" / str(version), work / name / str(version))
    config = (source / "chest" / "config.pbtxt").read_text()
    (work / name / "config.pbtxt").write_text(config.replace('name: "chest"', f'name: "{name}"'))
    module, _ = load_model(exported.model_dir)
    image = np.random.default_rng(version).random((2, 3, 64, 64), dtype=np.float32)
    with torch.inference_mode():
        logits, embedding = module.eval()(torch.from_numpy(image))
    golden.save(work / name / GOLDEN, {"image": image}, {"logits": logits.numpy(), "embedding": embedding.numpy()})
    return exported.info.model_copy(update={"name": NAME, "triton_model": name})


@pytest.fixture(scope="module")
def platform(
    repository: Repository, gateway_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    work = tmp_path_factory.mktemp("switched")
    chosen = gateway_settings(triton_model_dir=repository.folder)
    database, store = Database(chosen.database_url), ObjectStore(chosen)
    triton = TritonRepository(chosen, store)
    infos = []
    for exported in (repository.retired, repository.models["chest"]):
        infos.append(renamed(repository.folder, exported, work))
        triton.add(work / infos[-1].triton_model)
        assert triton.check(infos[-1]) < 1e-4, "Triton answers the stored inputs as PyTorch does"
    with database.session() as session:
        (model_id,) = {row.model_id for row in session.query(Deployment).filter_by(name="lungs")}
        for number, info in enumerate(infos, start=1):
            register_deployment(
                session, f"dep_switched{number}", info=info, model_id=model_id, job_id="job_x",
                project_id=DEFAULT_PROJECT,
            )  # fmt: skip
            session.flush()
        deployments.roll_back(session, EVERYTHING, "dep_switched2")
    yield Platform(database, triton, Keeper(chosen, database, store), infos)
    with database.session() as session:
        session.query(Deployment).filter_by(name=NAME).delete()
    database.engine.dispose()


def asked(gateway: httpx.Client, name: str = NAME) -> int:
    """The version that answers."""
    answer = gateway.post(f"/v1/models/{name}/classify", content=png(0))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["version"])


@dataclass
class Clients:
    """Answers to requests that never pause: the versions, and whatever else came."""

    versions: list[int] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def see(self, version: int, times: int = 3) -> None:
        """Wait until a version has answered so many times from now on."""
        start = len(self.versions)
        until(lambda: self.dropped or self.versions[start:].count(version) >= times, 30, f"version {version}")
        assert not self.dropped


@contextmanager
def asking(gateway: httpx.Client) -> Iterator[Clients]:
    found, over = Clients(), threading.Event()

    def client() -> None:
        while not over.is_set():
            answer = gateway.post(f"/v1/models/{NAME}/classify", content=png(0))
            if answer.status_code == 200:
                found.versions.append(answer.json()["version"])
            else:
                found.dropped.append(answer.text)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(client)
        try:
            yield found
        finally:
            over.set()


def test_switching_rolling_back_and_reloading_drop_no_request(gateway: httpx.Client, platform: Platform) -> None:
    with asking(gateway) as clients:
        clients.see(1)
        platform.activate(2)
        clients.see(2)
        platform.repository.client.load_model(triton_name(NAME, 2))
        clients.see(2)
        with platform.database.session() as session:
            deployments.roll_back(session, EVERYTHING, "dep_switched2")
        clients.see(1)
    assert clients.dropped == []
    assert (asked(gateway, f"{NAME}@1"), asked(gateway, f"{NAME}@2")) == (1, 2), "both stand side by side"
    missing = gateway.post(f"/v1/models/{NAME}@3/classify", content=png(0))
    assert (missing.status_code, "ready are: 1, 2" in missing.json()["detail"]) == (404, True)


def test_what_a_triton_that_was_started_again_lacks_is_loaded(gateway: httpx.Client, platform: Platform) -> None:
    for info in platform.infos:
        # the folder has gone with it
        platform.repository.withdraw(info.triton_model)
    assert gateway.post(f"/v1/models/{NAME}/classify", content=png(0)).status_code == 503
    assert platform.keeper.keep() == 2
    assert (asked(gateway), asked(gateway, f"{NAME}@2")) == (1, 2)
    assert platform.keeper.keep() == 0


def test_a_version_that_is_damaged_fails_with_tritons_reason_and_the_one_before_answers(
    gateway: httpx.Client, platform: Platform
) -> None:
    platform.activate(2)
    store, graph = platform.repository.store, f"triton/{NAME}.2/2/model.onnx"
    whole = store.get_bytes(graph)
    store.put_bytes(graph, whole[: len(whole) // 2])
    platform.repository.withdraw(triton_name(NAME, 2))
    assert platform.keeper.keep() == 0
    failed = platform.state(2)
    assert failed.state == "failed" and failed.error is not None
    assert "Triton cannot load the model" in failed.error["detail"] and "Protobuf" in failed.error["detail"]
    assert asked(gateway) == 1
    store.put_bytes(graph, whole)
    with platform.database.session() as session:
        assert deployments.reload(session, EVERYTHING, "dep_switched2").state == "loading"
    assert (platform.keeper.keep(), platform.state(2).error) == (1, None)
    assert asked(gateway) == 2, "it had been activated"


def test_wrong_answers_take_a_version_out(gateway: httpx.Client, platform: Platform) -> None:
    """Version 1's graph under version 2's name loads well, but does not give the answers that are stored with it."""
    store, graph = platform.repository.store, f"triton/{NAME}.2/2/model.onnx"
    whole = store.get_bytes(graph)
    store.put_bytes(graph, store.get_bytes(f"triton/{NAME}.1/1/model.onnx"))
    platform.repository.withdraw(triton_name(NAME, 2))
    assert platform.keeper.keep() == 0
    assert "differ from PyTorch's" in str(platform.state(2).error)
    assert asked(gateway) == 1
    store.put_bytes(graph, whole)
    with platform.database.session() as session:
        deployments.reload(session, EVERYTHING, "dep_switched2")
    assert platform.keeper.keep() == 1


def test_a_model_is_asked_by_its_alias(gateway: httpx.Client, platform: Platform) -> None:
    with platform.database.session() as session:
        model_id = session.get_one(Deployment, "dep_switched1").model_id
        aliases.promote(session, DEFAULT_PROJECT, "production", model_id, "ada")
    assert asked(gateway, "@production") == 2, "the newest version of the model"


def test_deleting_the_version_that_answers_drops_no_request(gateway: httpx.Client, platform: Platform) -> None:
    platform.activate(1)
    platform.activate(2)
    with asking(gateway) as clients:
        clients.see(2)
        with platform.database.session() as session:
            deletion.delete_deployment(session, EVERYTHING, "dep_switched2", drain_s=0.5)
        clients.see(1)
        store, withdraw = platform.repository.store, platform.repository.withdraw
        until(lambda: leftovers.clean(platform.database, store, withdraw, 30), 30, "the removal of the version")
        clients.see(1)
    assert clients.dropped == []
    assert platform.repository.loaded().get(triton_name(NAME, 2)) in {None, "", "UNAVAILABLE"}
    assert not platform.repository.store.list_keys(f"triton/{NAME}.2/")
    assert isinstance(platform.repository.folder, Path)
    assert [path.name for path in platform.repository.folder.glob(f"{NAME}.*")] == [f"{NAME}.1"]
