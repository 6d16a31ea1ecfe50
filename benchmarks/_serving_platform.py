"""What is measured: the embedded Triton with an untrained classifier in two versions, and the gateway as a process."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from PIL import Image

from medcoss.export.export import export
from medcoss.modalities import Kind
from medcoss.models.registry import build, save_model
from medcoss.preprocess.serving import ServingPipeline
from medcoss.run import LocalRun
from medcoss.specs import ExportSpec
from medcoss.specs.encoder import SIZES
from medcoss.specs.records import DeploymentInfo, ModelInfo
from services.core import deployments, registry
from services.core.db import Database, migrate
from services.core.keys import Role, store_key
from services.core.scope import EVERYTHING
from services.core.served_names import triton_name
from services.core.settings import Settings
from services.core.tables import DEFAULT_PROJECT
from services.embedded.process import Process, Server
from services.embedded.servers import LOOPBACK, free_port, redis_server, triton_server

NAME, KEY, SIDE = "chest", "mk_benchmark", 224
MODEL = "mdl_0123456789abcdef"
_RECIPE = {"name": "image_folder", "modality": "xray", "size": [SIDE, SIDE]}
_DYNAMIC = "dynamic_batching"


@dataclass(frozen=True)
class Platform:
    """A gateway and the Triton behind it. `alone` is the name of the same model at Triton without dynamic batching;
    `versions` are the ids of the two deployments.
    """

    gateway_url: str
    triton_url: str
    alone: str
    versions: tuple[str, str]
    database: Database
    processes: tuple[Process, Process]

    def activate(self, number: int) -> None:
        """Have a version answer, 0 or 1."""
        with self.database.session() as session:
            deployments.activate(session, EVERYTHING, self.versions[number])

    def resident(self) -> list[int]:
        """Bytes of main memory of the gateway, and of Triton with its backends; shared pages count by their share."""
        return [sum(_share(p) for p in _family(process)) for process in self.processes]

    def cpu_seconds(self) -> float:
        """CPU time that gateway and Triton have taken so far, with their children."""
        times = [p.cpu_times() for process in self.processes for p in _family(process)]
        return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def _family(process: Process) -> list[psutil.Process]:
    root = psutil.Process(process.pid)
    return [root, *root.children(recursive=True)]


def _share(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


def picture() -> bytes:
    """A PNG of 224 x 224 grey pixels, smooth as films are."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    grey = 120 + 60 * np.sin(6 * x + 3 * y) + np.random.default_rng(0).normal(0, 4, (SIDE, SIDE))
    file = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def prepared(png: bytes) -> NDArray[np.float32]:
    """What the gateway sends to Triton for it: (1, 3, 224, 224)."""
    return ServingPipeline(_RECIPE, Kind.IMAGE2D).image(png, "film.png")


@contextmanager
def platform(folder: Path, size: str, max_batch: int, queue_delay_us: int) -> Iterator[Platform]:
    """The platform in `folder`, on a SQLite database of its own."""
    repository = folder / "models"
    infos = _exported(folder, repository, size, max_batch, queue_delay_us)
    alone = _copied(repository, infos[0].triton_model, f"{NAME}-alone", 1, batching=False)
    triton_port, redis_port, port = free_port(), free_port(), free_port()
    chosen = Settings(
        database_url=f"sqlite:///{folder / 'medcoss.db'}", redis_url=f"redis://{LOOPBACK}:{redis_port}/0",
        triton_url=f"{LOOPBACK}:{triton_port}", rate_per_s=0,
    )  # fmt: skip
    migrate(chosen.database_url)
    database = Database(chosen.database_url)
    versions = _registered(database, folder, infos)
    triton = Process(triton_server(folder / "triton", triton_port, free_port(), free_port(), repository))
    gateway = Process(_gateway(folder, chosen, port))
    with Process(redis_server(folder / "redis", redis_port)), triton, gateway:
        yield Platform(
            f"http://{LOOPBACK}:{port}", chosen.triton_url, alone, versions, database, (gateway, triton)
        )  # fmt: skip
    database.engine.dispose()


def _exported(folder: Path, repository: Path, size: str, max_batch: int, delay: int) -> list[DeploymentInfo]:
    info = ModelInfo(
        task="classification", size=size, config=SIZES[size].to_dict(), modalities=["xray"], stage=1, modality="xray",
        kind=Kind.IMAGE2D, classes=["normal", "pneumonia"], sample_shape=[3, SIDE, SIDE], recipe=_RECIPE,
        recipes={"xray": _RECIPE},
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(build(info), info, folder / "model")
    spec = ExportSpec(model=MODEL, name=NAME, max_batch_size=max_batch, queue_delay_us=delay)
    own = spec.model_copy(update={"name": triton_name(NAME, 1)})
    first = export(own, folder / "model", repository, "python", 1, LocalRun(folder / "run"))
    second = _copied(repository, first.triton_model, triton_name(NAME, 2), 2)
    return [
        first.model_copy(update={"name": NAME}),
        first.model_copy(update={"name": NAME, "triton_model": second, "version": 2}),
    ]


def _copied(repository: Path, name: str, copy: str, version: int, *, batching: bool = True) -> str:
    """Another model of the same graph, with dynamic batching or one that takes a request after the other; its name."""
    folder = repository / copy / str(version)
    folder.mkdir(parents=True)
    for path in (repository / name / "1").iterdir():
        (folder / path.name).hardlink_to(path)
    lines = (repository / name / "config.pbtxt").read_text().replace(f'"{name}"', f'"{copy}"').splitlines()
    kept = [line for line in lines if batching or not line.startswith(_DYNAMIC)]
    (repository / copy / "config.pbtxt").write_text("\n".join(kept))
    return copy


def _registered(database: Database, folder: Path, infos: list[DeploymentInfo]) -> tuple[str, str]:
    described = ModelInfo.model_validate_json((folder / "model" / "config.json").read_text())
    with database.session() as session:
        store_key(session, KEY, "benchmark", Role.VIEWER)
        registry.register_model(
            session, MODEL, name="untrained", info=described, prefix=f"models/{MODEL}", files=[], parents=[],
            dataset_id=None, job_id="job_none", project_id=DEFAULT_PROJECT,
        )  # fmt: skip
        for info in infos:
            registry.register_deployment(
                session, f"dep_{info.version}", info=info, model_id=MODEL, job_id="job_none",
                project_id=DEFAULT_PROJECT,
            )  # fmt: skip
    return "dep_1", "dep_2"


def _gateway(folder: Path, chosen: Settings, port: int) -> Server:
    url = f"http://{LOOPBACK}:{port}"

    def healthy() -> bool:
        try:
            return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    given = ("database_url", "redis_url", "triton_url", "rate_per_s")
    env = {f"MEDCOSS_{name.upper()}": str(getattr(chosen, name)) for name in given} | {"MEDCOSS_LOG_LEVEL": "WARNING"}
    argv = [sys.executable, "-m", "services.core.serving", "services.inference.app:create_app", "--port", str(port)]
    return Server("gateway", argv, url, healthy, folder / "gateway.log", env)
