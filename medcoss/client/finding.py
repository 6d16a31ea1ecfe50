"""Where the server is and which key opens it."""

import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medcoss.client.errors import NotConfigured

READY_FILE = "platform.json"
DEFAULT_DATA_DIR = Path(".medcoss")


class LocalPart(BaseModel):
    """One part of a platform on this machine."""

    model_config = ConfigDict(extra="allow")

    name: str
    pid: int
    address: str
    log: Path


class LocalPlatform(BaseModel):
    """A platform on this machine, as its data folder's `platform.json` tells."""

    model_config = ConfigDict(extra="allow")

    url: str
    gateway_url: str
    key: str
    pid: int
    parts: list[LocalPart] = []


@dataclass(frozen=True)
class Found:
    """Address and key of a server, and where they came from."""

    server: str
    key: str
    advice: str


def data_folder(data_dir: Path | str | None = None) -> Path:
    """The data folder: the argument, else MEDCOSS_DATA_DIR, else `.medcoss`."""
    return Path(data_dir or os.environ.get("MEDCOSS_DATA_DIR") or DEFAULT_DATA_DIR)


def local_platform(data_dir: Path | str | None = None) -> LocalPlatform | None:
    """The platform that runs on a data folder, or None. Raises NotConfigured when the file cannot be read."""
    path = data_folder(data_dir) / READY_FILE
    try:
        return LocalPlatform.model_validate_json(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise NotConfigured(f"{path} cannot be read ({type(error).__name__}); start the platform again") from error


def find_server(server: str | None, key: str | None, data_dir: Path | str | None) -> Found:
    """The server and the key: arguments, then MEDCOSS_SERVER and MEDCOSS_KEY, then the data folder.

    A `data_dir` that is given goes before the environment. The folder's key is only ever used for the
    folder's own server. Raises NotConfigured when nothing is found.
    """
    address = server or (os.environ.get("MEDCOSS_SERVER") if data_dir is None else None)
    local = local_platform(data_dir)
    if address is None and local is None:
        raise NotConfigured(
            f"no platform runs on {data_folder(data_dir)}; start one with `medcoss up`, or name a server "
            "(server=, --server or MEDCOSS_SERVER)"
        )
    if local is not None and (address is None or _same(address, local.url)):
        from_environment = os.environ.get("MEDCOSS_KEY") if address is not None or data_dir is None else None
        advice = f"process {local.pid} should run it: see `medcoss status`, or start it again with `medcoss up`"
        return Found(local.url, key or from_environment or local.key, advice)
    assert address is not None
    chosen = key or os.environ.get("MEDCOSS_KEY")
    if not chosen:
        raise NotConfigured(f"there is no key for {address}; give one (key=, --key or MEDCOSS_KEY)")
    if "://" not in address:
        address = f"http://{address}"
    return Found(address.rstrip("/"), chosen, "check its address (server=, --server or MEDCOSS_SERVER)")


def _same(one: str, other: str) -> bool:
    plain = [url.rstrip("/").removeprefix("http://").replace("localhost", "127.0.0.1") for url in (one, other)]
    return plain[0] == plain[1]
