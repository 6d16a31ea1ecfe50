"""What is attacked: control plane and gateway as processes, and two projects with something of everything in each."""

import hashlib
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy.orm import Session

from benchmarks._postgres import Postgres
from medcoss.modalities import Kind
from medcoss.specs.records import DatasetInfo, DeploymentInfo, FileEntry, ModelInfo
from services.core import aliases, attempts, jobs, keys, projects, registry, webhooks
from services.core.attempts import Artifact
from services.core.db import Database, migrate
from services.core.ids import new_id
from services.core.jobs import NewJob
from services.core.keys import Role
from services.core.sealing import Seal
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.core.tables import Dataset, DatasetFile
from services.core.tables.base import now
from services.embedded.process import Process, Server
from services.embedded.servers import LOOPBACK, free_port, redis_server, s3_server

# how the services are set: bodies that do not come are given up soon, and thousands of bad keys a second are answered
STRICT = {"rate_per_s": 0, "refused_per_s": 1e6, "refused_burst": 10**6, "request_timeout_s": 2.0}
API, GATEWAY = "services.api.app:create_app", "services.inference.app:create_app"
_CONTENT = b"weights"
_RECIPE = {"name": "image_folder"}


@dataclass(frozen=True)
class Project:
    """A project: keys that open it alone, by role, and what is in it, by the names of path parameters."""

    id: str
    keys: dict[str, str]
    ids: dict[str, str]


@dataclass(frozen=True)
class Target:
    """The services under attack. `bad_keys` open nothing, by what became of them; `webhook_secret` is of mine."""

    url: str
    gateway_url: str
    settings: Settings
    admin: str
    mine: Project
    others: Project
    bad_keys: dict[str, str]
    processes: list[Process] = field(default_factory=list)

    def dead(self) -> list[str]:
        """How services have ended that should run."""
        return [f"{p.server.name}: {p.ending()}, {p.last_words()}" for p in self.processes if p.pid is None]

    def secrets(self) -> list[str]:
        """What no answer may hold."""
        known = [self.admin, *self.mine.keys.values(), *self.others.keys.values(), *self.bad_keys.values()]
        return [*known, self.settings.s3_secret_key.get_secret_value(), self.settings.database_url]


@contextmanager
def attacked(settings: Settings, folder: Path) -> Iterator[Target]:
    """Both services as processes on a migrated, empty database and an existing bucket; logs go to `folder`."""
    database, store = Database(settings.database_url), ObjectStore(settings)
    with database.session() as session:
        admin = _key(session, "the admin", Role.ADMIN, [])
        mine = _project(session, store, settings, "mine")
        others = _project(session, store, settings, "others")
        bad_keys = _bad_keys(session, mine.id)
    database.engine.dispose()
    processes = [_process(name, factory, settings, folder) for name, factory in (("api", API), ("gateway", GATEWAY))]
    try:
        for process in processes:
            process.launch()
        for process in processes:
            process.wait_healthy()
        url, gateway_url = (process.server.address for process in processes)
        yield Target(url, gateway_url, settings, admin, mine, others, bad_keys, processes)
    finally:
        for process in processes:
            process.stop()


def _process(name: str, factory: str, settings: Settings, folder: Path) -> Process:
    port = free_port()
    address = f"http://{LOOPBACK}:{port}"
    argv = [sys.executable, "-m", "services.core.serving", factory, "--host", LOOPBACK, "--port", str(port)]

    def healthy() -> bool:
        try:
            return httpx.get(f"{address}/healthz", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return Process(Server(name, argv, address, healthy, folder / f"{name}.log", _environment(settings)))


def _environment(settings: Settings) -> dict[str, str]:
    """Settings that differ from the usual ones, as variables."""
    usual = Settings.model_construct().model_dump()
    plain = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else value
        for name, value in dict(settings).items()
        if value != usual[name]
    }
    words = {name: value if isinstance(value, str | Path) else str(value) for name, value in plain.items()}
    return {f"MEDCOSS_{name.upper()}": str(value).replace("'", '"') for name, value in words.items()}


def _key(session: Session, name: str, role: Role, opened: list[str], **fields: Any) -> str:
    values = {"owner": name, "expires_at": None} | fields
    return keys.create_key(session, name=name, role=role, projects=opened, **values)[1]


def _bad_keys(session: Session, project_id: str) -> dict[str, str]:
    """Keys that were good."""
    made = {
        what: keys.create_key(session, name=what, owner=what, role=Role.OPERATOR, projects=[project_id],
                              expires_at=None)
        for what in ("expired", "revoked", "rotated")
    }  # fmt: skip
    made["expired"][0].expires_at = now() - timedelta(seconds=1)
    keys.revoke_key(session, made["revoked"][0].id)
    keys.rotate_key(session, made["rotated"][0].id, 0)
    return {what: secret for what, (_, secret) in made.items()}


def _project(session: Session, store: ObjectStore, settings: Settings, name: str) -> Project:
    project_id = projects.create(session, name, "").id
    opened = {
        role.word: _key(session, f"{name} {role.word}", role, [project_id]) for role in (Role.VIEWER, Role.OPERATOR)
    }
    key_row, _ = keys.create_key(session, name=f"{name} key", owner=name, role=Role.VIEWER, projects=[project_id],
                                 expires_at=None)  # fmt: skip
    job_id, dataset_id, model_id = _history(session, store, project_id, name)
    hook, _ = webhooks.create(session, Seal(settings), project_id, f"https://198.51.100.7/{name}", ["*"], "", name)
    delivery_id = webhooks.test(session, hook).id
    info = DeploymentInfo(
        name=f"{name}-served", task="encoder", modality="xray", kind=Kind.IMAGE2D, triton_model=f"{name}-served",
        version=1, sample_shape=[1, 32, 32], recipe=_RECIPE, input_names=["image"], output_names=["embedding"],
        max_difference=0.0,
    )  # fmt: skip
    deployment_id = new_id("dep")
    registry.register_deployment(
        session, deployment_id, info=info, model_id=model_id, job_id=job_id, project_id=project_id
    )
    aliases.promote(session, project_id, f"{name}-best", model_id, name)
    ids = {
        "project_id": project_id, "dataset_id": dataset_id, "raw_id": _raw(session, store, project_id, name),
        "job_id": job_id, "model_id": model_id, "deployment_id": deployment_id, "alias": f"{name}-best",
        "webhook_id": hook.id, "delivery_id": delivery_id, "key_id": key_row.id, "name": f"{name}-served",
    }  # fmt: skip
    return Project(project_id, opened, ids)


def _raw(session: Session, store: ObjectStore, project_id: str, name: str) -> str:
    """An uploaded dataset."""
    dataset_id = new_id("ds")
    prefix = f"datasets/{dataset_id}/raw"
    store.put_bytes(f"{prefix}/a.png", _CONTENT)
    file = DatasetFile(path="a.png", size=len(_CONTENT), sha256=hashlib.sha256(_CONTENT).hexdigest())
    row = Dataset(
        id=dataset_id, name=f"{name}-raw", role="raw", state="ready", modality="xray", prefix=prefix, info=None,
        file_count=1, total_bytes=file.size, parents=[], created_at=now(), files=[file], project_id=project_id,
    )  # fmt: skip
    registry.add_dataset(session, row)
    return dataset_id


def _history(session: Session, store: ObjectStore, project_id: str, name: str) -> tuple[str, str, str]:
    """A job that has succeeded, its dataset and its model."""
    asked = NewJob(kind="pretrain", spec={}, name=name, max_attempts=3, project_id=project_id)
    job = jobs.submit(session, asked, created_by=name)
    claim = attempts.claim(session, job.id, "worker", 30)
    assert claim is not None
    dataset_id, model_id = new_id("ds"), new_id("mdl")
    key = f"jobs/{job.id}/artifacts/curve.png"
    for place in (key, f"models/{model_id}/model.safetensors", f"datasets/{dataset_id}/shards/images.b2nd"):
        store.put_bytes(place, _CONTENT)
    attempts.record_rows(
        session, job.id, claim.fence, metrics=[(1, {"loss": 0.5})], logs=[("info", "begins")],
        artifacts=[Artifact("curve.png", key, "image/png", len(_CONTENT))],
    )  # fmt: skip

    def publish(opened: Session) -> None:
        shape = {"modality": "xray", "kind": Kind.IMAGE2D, "sample_shape": [1, 32, 32], "recipe": _RECIPE}
        common = {"parents": [], "job_id": job.id, "project_id": project_id}
        dataset = DatasetInfo(samples=4, splits={"train": 4}, **shape)  # type: ignore[arg-type]
        model = ModelInfo(task="encoder", size="tiny", config={}, modalities=["xray"], stage=1,
                          metrics={"loss": 0.5}, **shape)  # type: ignore[arg-type]  # fmt: skip
        entry = {"size": len(_CONTENT), "sha256": hashlib.sha256(_CONTENT).hexdigest()}
        registry.register_dataset(
            opened, dataset_id, name=f"{name}-shards", info=dataset, prefix=f"datasets/{dataset_id}/shards",
            files=[FileEntry(path="images.b2nd", **entry)], **common,
        )  # type: ignore[arg-type]  # fmt: skip
        registry.register_model(
            opened, model_id, name=f"{name}-encoder", info=model, prefix=f"models/{model_id}",
            files=[FileEntry(path="model.safetensors", **entry)], dataset_id=dataset_id, **common,
        )  # type: ignore[arg-type]  # fmt: skip

    assert attempts.succeed(session, job.id, claim.fence, {"outputs": {"model": model_id}}, publish)
    return job.id, dataset_id, model_id


@contextmanager
def foundation(folder: Path, database: str) -> Iterator[Settings]:
    """Redis, SeaweedFS and a migrated database, `sqlite` or `postgresql`, for an attack."""
    keys_ = {"access_key": "hostile", "secret_key": "hostile-secret-key"}
    redis_port, s3_port = free_port(), free_port()
    servers = (redis_server(folder / "redis", redis_port), s3_server(folder / "s3", s3_port, **keys_))
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(Process(server))
        if database == "sqlite":
            url = f"sqlite:///{folder / 'medcoss.db'}"
        else:
            url = stack.enter_context(closing(Postgres("hostile"))).url
        settings = Settings(
            database_url=url, redis_url=f"redis://{LOOPBACK}:{redis_port}/0", s3_endpoint=f"{LOOPBACK}:{s3_port}",
            s3_bucket=f"hostile-{uuid.uuid4().hex[:12]}", s3_access_key=keys_["access_key"],
            s3_secret_key=keys_["secret_key"], **STRICT,
        )  # type: ignore[arg-type]  # fmt: skip
        migrate(url)
        ObjectStore(settings).ensure_bucket()
        yield settings
