"""Small models exported to a real Triton, and the gateway over real HTTP in front of it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from medcoss.export.export import export
from medcoss.run import LocalRun
from medcoss.specs import ExportSpec
from medcoss.specs.records import DeploymentInfo, ModelInfo
from services.api.app import create_app as create_control_plane
from services.core import projects
from services.core.db import Database, migrate
from services.core.ids import new_id
from services.core.keys import Role, store_key
from services.core.registry import register_deployment, register_model
from services.core.serving import options
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT
from services.embedded.servers import Process, free_port, triton_server
from services.inference.app import create_app
from tests.medcoss.export.small_models import write_model

KEY = "mk_test"
OTHERS_KEY = "mk_others"
MODEL_ID = "mdl_0123456789abcdef"
MAX_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Exported:
    """One exported version and the model folder that it came from."""

    info: DeploymentInfo
    model_dir: Path


@dataclass(frozen=True)
class Repository:
    """A Triton server, its folder of models, its log and what it serves, by model name; `retired` is an earlier
    version.
    """

    url: str
    folder: Path
    log: Path
    models: dict[str, Exported]
    retired: Exported


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """Exports of every task and kind of input, loaded by a real Triton."""
    work = tmp_path_factory.mktemp("repository")
    root = work / "triton"

    def make(name: str, task: str, modalities: list[str], classes: list[str] | None = None, modality: str | None = None,
             version: int = 1) -> Exported:  # fmt: skip
        folder = work / f"{name}-{version}" / "model"
        write_model(folder, task, modalities, classes, seed=version)
        spec = ExportSpec(model=MODEL_ID, name=name, modality=modality, max_batch_size=4)
        return Exported(export(spec, folder, root, "python", version, LocalRun(work / "run")), folder)

    retired = make("chest", "classification", ["xray"], ["covid", "normal", "pneumonia"])
    models = {
        "chest": make("chest", "classification", ["xray"], ["covid", "normal", "pneumonia"], version=2),
        "atrium": make("atrium", "segmentation", ["xray", "mr"], ["left_atrium", "wall"]),
        "lungs": make("lungs", "segmentation", ["xray"], ["lung", "heart"]),
        "reports": make("reports", "encoder", ["report", "mr"], modality="report"),
        "volumes": make("volumes", "encoder", ["report", "mr"], modality="mr"),
    }
    port = free_port()
    with Process(triton_server(work / "server", port, free_port(), free_port(), root)):
        yield Repository(f"127.0.0.1:{port}", root, work / "server" / "triton.log", models, retired)


def register(settings: Settings, exported: Exported, model_id: str | None = None) -> str:
    """Record an exported model as the jobs of the platform do, or one more version of the model `model_id`; the
    model's id.
    """
    if model_id is None:
        model_id = new_id("mdl")
        files = ObjectStore(settings).upload_dir(f"models/{model_id}", exported.model_dir)
        info = ModelInfo.model_validate_json((exported.model_dir / "config.json").read_text())
        with Database(settings.database_url).session() as session:
            register_model(
                session, model_id, name="small", info=info, prefix=f"models/{model_id}", files=files, parents=[],
                dataset_id=None, job_id="job_x", project_id=DEFAULT_PROJECT,
            )  # fmt: skip
    # another job's transaction
    with Database(settings.database_url).session() as session:
        register_deployment(
            session, new_id("dep"), info=exported.info, model_id=model_id, job_id="job_x", project_id=DEFAULT_PROJECT
        )
    return model_id


@contextmanager
def serving(app: FastAPI, port: int = 0) -> Iterator[httpx.Client]:
    """A client of `app` behind a real HTTP server, at a free port unless one is named."""
    # with the protocol named, uvicorn switches Nagle's delay of 40 ms off
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(app, **options(log_config=None, lifespan="on")))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.02)
        host, port = listener.getsockname()
        with httpx.Client(
            base_url=f"http://{host}:{port}", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def gateway_settings(
    repository: Repository, s3: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """Settings of a platform in which the repository's models are registered; keyword arguments override."""
    folder = tmp_path_factory.mktemp("gateway")

    def make(**overrides: object) -> Settings:
        values: dict[str, object] = {
            "database_url": f"sqlite:///{folder / 'medcoss.db'}",
            "s3_endpoint": s3["endpoint"],
            "s3_access_key": s3["access_key"],
            "s3_secret_key": s3["secret_key"],
            "s3_bucket": "test-inference",
            "triton_url": repository.url,
            "max_inference_bytes": MAX_BYTES,
        }
        return Settings(**(values | overrides))

    settings = make()
    migrate(settings.database_url)
    ObjectStore(settings).ensure_bucket()
    with Database(settings.database_url).session() as session:
        store_key(session, KEY, "test", Role.VIEWER)
        store_key(session, OTHERS_KEY, "others", Role.OPERATOR, projects=[projects.create(session, "others").id])
    for exported in (repository.retired, *repository.models.values()):
        register(settings, exported)
    return make


@pytest.fixture(scope="session")
def gateway(gateway_settings: Callable[..., Settings]) -> Iterator[httpx.Client]:
    """A client of the gateway, with a viewer's key."""
    with serving(create_app(gateway_settings())) as client:
        yield client


@contextmanager
def console_of(settings: Settings) -> Iterator[str]:
    """The address of a control plane whose console may call a gateway, both with these settings."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    allowed = settings.model_copy(update={"console_origins": [origin]})
    with serving(create_app(allowed)) as gateway:
        url = str(gateway.base_url).rstrip("/")
        with serving(create_control_plane(allowed.model_copy(update={"gateway_url": url})), port):
            yield origin
