"""`medcoss up`: starts everything, mends what dies, keeps its state, leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from services.embedded.family import FAMILY
from services.embedded.servers import free_port_pair

PARTS = ["redis", "s3", "triton", "control plane", "gateway", "worker", "beat"]
pytestmark = pytest.mark.timeout(180)


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


def family(data_dir: Path) -> list[psutil.Process]:
    """Every living process that belongs to the platform of a folder, wherever it is in the process tree."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(FAMILY) == str(data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass
class Up:
    """A running `medcoss up`."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    @property
    def state(self) -> dict[str, object]:
        return json.loads((self.data_dir / "platform.json").read_text())

    def pid_of(self, part: str) -> int:
        parts = self.state["parts"]
        assert isinstance(parts, list)
        return next(p["pid"] for p in parts if p["name"] == part)

    def get(self, path: str, gateway: bool = False) -> httpx.Response:
        url = self.state["gateway_url" if gateway else "url"]
        headers = {"Authorization": f"Bearer {self.state['key']}"}
        return httpx.get(f"{url}{path}", headers=headers, timeout=30, trust_env=False)


def command(data_dir: Path, port: int) -> list[str]:
    return [sys.executable, "-m", "services.cli.main", "up", "--data-dir", str(data_dir), "--port", str(port)]


def start(data_dir: Path, port: int) -> Up:
    log = data_dir.parent / "up.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command(data_dir, port), stdout=output, stderr=subprocess.STDOUT)
    ready = data_dir / "platform.json"

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        return ready.exists() and json.loads(ready.read_text())["pid"] == process.pid

    until(is_ready, "start", 120)
    return Up(process, data_dir, log)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "data"
    yield folder
    for process in family(folder):
        process.kill()


def test_life_of_a_platform(data_dir: Path) -> None:
    port = free_port_pair()
    up = start(data_dir, port)
    assert [part["name"] for part in up.state["parts"]] == PARTS
    # the table is printed last, when others may already know that all is ready
    until(lambda: all(name in up.log.read_text(encoding="utf-8") for name in PARTS), "the table of the parts")
    assert up.get("/readyz").json() == {"database": "ok", "redis": "ok", "s3": "ok"}
    assert up.get("/readyz", gateway=True).status_code == 200

    # secrets are for the owner alone
    for name in ("platform.json", "state.json"):
        assert (data_dir / name).stat().st_mode & 0o077 == 0

    body = {"name": "kept", "modality": "xray", "files": [{"path": "a.png", "size": 1, "sha256": "0" * 64}]}
    key = {"Authorization": f"Bearer {up.state['key']}"}
    dataset = httpx.post(f"{up.state['url']}/v1/datasets", json=body, headers=key, trust_env=False).json()["dataset"]

    # a second one on the same folder, and one on the same port
    for arguments, words in (
        ((data_dir, free_port_pair()), "already runs on"),
        ((data_dir.parent / "other", port), f"port {port} is taken"),
    ):
        refused = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr
        assert len(refused.stderr.strip().splitlines()) <= 3

    # a part that dies comes back
    for part, gateway in (("gateway", True), ("redis", False)):
        dead = up.pid_of(part)
        os.kill(dead, signal.SIGKILL)
        until(lambda part=part, dead=dead: up.pid_of(part) not in {0, dead}, f"{part} starts again")
        until(lambda gateway=gateway: answers(up, gateway), f"{part} answers again")
    assert "gateway ended (killed by SIGKILL)" in up.log.read_text(encoding="utf-8")

    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(60) == 0
    assert not family(data_dir)
    assert not (data_dir / "platform.json").exists()

    # state survives
    again = start(data_dir, port)
    assert again.state["key"] == key["Authorization"].removeprefix("Bearer ")
    assert again.get(f"/v1/datasets/{dataset['id']}").json()["name"] == "kept"

    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(60) == 0


def test_a_killed_platform_leaves_nothing_behind_even_when_a_part_hangs(data_dir: Path) -> None:
    up = start(data_dir, free_port_pair())
    sockets = [Path(line) for line in (data_dir / "litter").read_text().splitlines()]
    assert any(socket.exists() for socket in sockets)
    (worker,) = (each for each in family(data_dir) if each.pid == up.pid_of("worker"))
    temporary = Path(worker.environ()["TMPDIR"])
    (temporary / "half of a checkpoint").write_bytes(b"0")
    os.kill(worker.pid, signal.SIGSTOP)
    up.process.kill()
    up.process.wait()
    until(lambda: not family(data_dir), "all parts have ended")
    assert not [path for path in (temporary, data_dir / "litter", *sockets) if path.exists()]


def answers(up: Up, gateway: bool) -> bool:
    try:
        return up.get("/readyz", gateway).status_code == 200
    except httpx.HTTPError:
        return False


def test_sigterm_while_starting(data_dir: Path) -> None:
    process = subprocess.Popen(command(data_dir, free_port_pair()), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until(lambda: bool(family(data_dir)), "first part")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    assert not family(data_dir)


def test_gateway_port_is_taken(data_dir: Path) -> None:
    port = free_port_pair()
    with socket.create_server(("127.0.0.1", port + 1)):
        refused = subprocess.run(command(data_dir, port), capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"port {port + 1} is taken" in refused.stderr
    assert not family(data_dir)


def test_a_setting_that_cannot_be_used_is_named(data_dir: Path) -> None:
    refused = subprocess.run(
        command(data_dir, free_port_pair()), env=os.environ | {"MEDCOSS_MAX_FILE_BYTES": "many"}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "MEDCOSS_MAX_FILE_BYTES" in refused.stderr
    assert "pydantic" not in refused.stderr
