"""What an embedded platform keeps in its data folder: lock, secrets, ports, and the file that says it is ready."""

import fcntl
import json
import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from services.embedded.process import PlatformError
from services.embedded.servers import free_port, port_is_free

INTERNAL_PORTS = ("redis", "s3", "triton_http", "triton_grpc", "triton_metrics")
READY_FILE = "platform.json"
STATE_FILE = "state.json"


class State(BaseModel):
    """Secrets and internal ports, the same at every start."""

    admin_key: str
    redis_password: str
    s3_access_key: str
    s3_secret_key: str
    ports: dict[str, int] = {}


class RunningPart(BaseModel):
    """One part as `platform.json` lists it."""

    name: str
    pid: int
    address: str
    log: Path


class Running(BaseModel):
    """A platform that is ready: where it is, and the key that opens it."""

    url: str
    gateway_url: str
    key: str
    pid: int
    parts: list[RunningPart]


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Own the data folder, which is made if need be. Raises PlatformError when another platform has it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = (data_dir / "lock").open("a+")
    except OSError as error:
        raise PlatformError(
            f"the data folder {data_dir} cannot be used ({error.strerror}); choose --data-dir"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise PlatformError(
                f"a platform already runs on {data_dir} (process {handle.read().strip() or 'unknown'}); "
                "stop it first or choose another --data-dir"
            ) from error
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def load_state(data_dir: Path, promised: Collection[int] = ()) -> State:
    """The folder's secrets, made at the first start, and ports that are free now, the old ones if possible.

    None is one of `promised`, which are free now but will be taken by others.
    """
    path = data_dir / STATE_FILE
    if path.exists():
        try:
            state = State.model_validate_json(path.read_text())
        except ValidationError as error:
            raise PlatformError(f"{path} is damaged; restore it, or move {data_dir} away to start afresh") from error
    else:
        state = State(
            admin_key="mk_" + secrets.token_urlsafe(32),
            redis_password=secrets.token_hex(24),
            s3_access_key=secrets.token_hex(10),
            s3_secret_key=secrets.token_hex(20),
        )
    for name in INTERNAL_PORTS:
        port = state.ports.get(name, 0)
        if port in {0, *promised} or not port_is_free(port):
            state.ports[name] = _unused_port({*state.ports.values(), *promised})
    write_private(path, state.model_dump_json(indent=2))
    return state


def _unused_port(taken: Collection[int]) -> int:
    while (port := free_port()) in taken:
        pass
    return port


def write_private(path: Path, text: str) -> None:
    """Replace a file at once; only its owner may read it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    draft.replace(path)


def read_running(data_dir: Path) -> Running | None:
    """The platform that is ready on this folder, or None."""
    try:
        return Running.model_validate(json.loads((data_dir / READY_FILE).read_text()))
    except FileNotFoundError:
        return None
