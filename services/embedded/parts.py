"""The parts of an embedded platform: which program each is and when it is healthy."""

import json
import os
import sys
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import httpx
from celery import Celery
from kombu.exceptions import KombuError
from pydantic import ValidationError
from redis.exceptions import RedisError

from services.core.bell import GPU_QUEUE, JOBS_QUEUE
from services.core.settings import Settings
from services.embedded.family import FAMILY
from services.embedded.litter import temporary
from services.embedded.process import PlatformError, Server
from services.embedded.servers import LOOPBACK, redis_server, s3_server, triton_server
from services.embedded.state import State
from services.worker.offer import offer


def environment(data_dir: Path, state: State, port: int) -> dict[str, str]:
    """Settings of all parts. The user's own MEDCOSS_ variables pass, but for where the parts find each other."""
    ports = state.ports
    found = {
        FAMILY: str(data_dir),
        # what a killed part leaves is removed with the others' when the platform starts or ends
        "TMPDIR": str(temporary(data_dir)),
        "MEDCOSS_DATABASE_URL": f"sqlite:///{data_dir / 'medcoss.db'}",
        "MEDCOSS_REDIS_URL": f"redis://:{state.redis_password}@{LOOPBACK}:{ports['redis']}/0",
        "MEDCOSS_S3_ENDPOINT": f"{LOOPBACK}:{ports['s3']}",
        "MEDCOSS_S3_PUBLIC_ENDPOINT": f"{LOOPBACK}:{ports['s3']}",
        "MEDCOSS_S3_SECURE": "false",
        "MEDCOSS_S3_ACCESS_KEY": state.s3_access_key,
        "MEDCOSS_S3_SECRET_KEY": state.s3_secret_key,
        "MEDCOSS_STORAGE_DIR": str(data_dir),
        "MEDCOSS_TRITON_URL": f"{LOOPBACK}:{ports['triton_http']}",
        "MEDCOSS_TRITON_MODEL_DIR": str(data_dir / "triton" / "models"),
        "MEDCOSS_TRITON_BACKEND": "python",
        "MEDCOSS_GATEWAY_URL": f"http://{LOOPBACK}:{port + 1}",
        "MEDCOSS_BOOTSTRAP_ADMIN_KEY": state.admin_key,
    }
    if "MEDCOSS_CACHE_DIR" not in os.environ:
        found["MEDCOSS_CACHE_DIR"] = str(data_dir / "cache")
    if "MEDCOSS_CONSOLE_ORIGINS" not in os.environ:
        found["MEDCOSS_CONSOLE_ORIGINS"] = json.dumps([f"http://{host}:{port}" for host in (LOOPBACK, "localhost")])
    return found


def settings_of(env: dict[str, str]) -> Settings:
    """The settings that the parts read from `env` and their variables. Raises PlatformError naming a wrong one."""
    prefix = "MEDCOSS_"
    given = (os.environ | env).items()
    try:
        return Settings.model_validate({k.removeprefix(prefix).lower(): v for k, v in given if k.startswith(prefix)})
    except ValidationError as error:
        wrong = "; ".join(f"MEDCOSS_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise PlatformError(f"a setting cannot be used ({wrong}); change it or unset it") from None


def foundation(data_dir: Path, state: State, env: dict[str, str], promised: Collection[int]) -> list[Server]:
    """Redis, S3 and Triton, with no port of `promised`, those of services to come.

    Raises PlatformError when a program is missing.
    """
    ports = state.ports
    servers = [
        redis_server(data_dir / "redis", ports["redis"], state.redis_password),
        s3_server(data_dir / "s3", ports["s3"], state.s3_access_key, state.s3_secret_key,
                  {*promised, *ports.values()}),
        triton_server(
            data_dir / "triton", ports["triton_http"], ports["triton_grpc"], ports["triton_metrics"],
            data_dir / "triton" / "models",
        ),
    ]  # fmt: skip
    mark = {name: env[name] for name in (FAMILY, "TMPDIR")}
    return [replace(s, env=s.env | mark, log=data_dir / "logs" / f"{s.name}.log") for s in servers]


def services(data_dir: Path, settings: Settings, env: dict[str, str], port: int) -> list[Server]:
    """Control plane, gateway, worker and beat, which need the foundation."""
    logs = data_dir / "logs"

    def web(name: str, factory: str, at: int) -> Server:
        argv = [
            sys.executable, "-m", "services.core.serving", factory, "--host", LOOPBACK, "--port", str(at),
        ]  # fmt: skip
        address = f"http://{LOOPBACK}:{at}"
        return Server(name, argv, address, _answers(f"{address}/readyz"), logs / f"{name.replace(' ', '-')}.log", env)

    def celery(name: str, stop_timeout_s: float, *options: str, **variables: str) -> Server:
        node = f"{name}@medcoss"
        argv = [
            sys.executable, "-m", "celery", "-A", "services.worker.app", "worker", "-n", node, "--loglevel", "INFO",
            "--without-gossip", "--without-mingle", *options,
        ]  # fmt: skip
        return Server(
            name, argv, f"{node} on Redis", _pongs(settings.redis_url, node), logs / f"{name}.log", env | variables,
            stop_timeout_s=stop_timeout_s,
        )  # fmt: skip

    schedule = data_dir / "beat-schedule"
    # two processes that each tell their numbers
    metrics = {"MEDCOSS_METRICS_PORT": str(settings.metrics_port + 1)} if settings.metrics_port else {}
    queues = ",".join([JOBS_QUEUE, *([GPU_QUEUE] if offer(settings).gpus else [])])
    return [
        web("control plane", "services.api.app:create_app", port),
        web("gateway", "services.inference.app:create_app", port + 1),
        # a job that runs writes its checkpoint before the worker ends
        celery("worker", settings.stop_grace_s + 15, "-Q", queues, "--pool=threads", "--concurrency=1"),
        celery("beat", 15, "-B", "-Q", "control", "--pool=solo", "-s", str(schedule), **metrics),
    ]


def _answers(url: str) -> Callable[[], bool]:
    def healthy() -> bool:
        try:
            return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return healthy


def _pongs(redis_url: str, node: str) -> Callable[[], bool]:
    def healthy() -> bool:
        with Celery(broker=redis_url, set_as_current=False) as app:
            try:
                return bool(app.control.ping(destination=[node], timeout=0.5))
            except (KombuError, RedisError, OSError):
                return False

    return healthy
