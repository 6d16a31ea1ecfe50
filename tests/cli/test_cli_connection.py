"""Where the command line connects to, the local platform, and how every problem ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.embedded.servers import free_port
from services.embedded.state import Running, RunningPart, load_state
from tests.cli.conftest import Done, start
from tests.medcoss.client.control_plane import KEY, ControlPlane

Medcoss = Callable[..., Done]


@pytest.fixture
def bare(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to be in, nothing in the environment."""
    for name in ("MEDCOSS_SERVER", "MEDCOSS_KEY"):
        environment.delenv(name)
    environment.chdir(tmp_path)
    return tmp_path


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def write_ready_file(folder: Path, url: str) -> None:
    folder.mkdir(exist_ok=True)
    parts = [
        RunningPart(name="redis", pid=os.getpid(), address="127.0.0.1:1", log=folder / "redis.log"),
        RunningPart(name="worker", pid=dead_pid(), address="worker@medcoss", log=folder / "worker.log"),
    ]
    running = Running(url=url, gateway_url="http://127.0.0.1:1", key=KEY, pid=os.getpid(), parts=parts)
    (folder / "platform.json").write_text(running.model_dump_json())


def test_options_before_and_after_the_command(medcoss: Medcoss, plane: ControlPlane, bare: Path) -> None:
    for arguments in (
        ["--server", plane.url, "--key", KEY, "jobs", "list", "--json"],
        ["jobs", "list", "--json", "--server", plane.url, "--key", KEY],
        ["--server", "http://wrong.invalid", "--key", KEY, "models", "list", "--json", "--server", plane.url],
    ):
        assert isinstance(medcoss(*arguments).json, list)
    write_ready_file(bare / "data", plane.url)
    assert medcoss("--data-dir", bare / "data", "deployments", "list", "--json").json == []
    assert medcoss("deployments", "list", "--json", "--data-dir", bare / "data").json == []


def test_nothing_to_connect_to(medcoss: Medcoss, bare: Path) -> None:
    done = medcoss("jobs", "list", "--json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no platform runs on .medcoss; start one with `medcoss up`")


def test_a_gateway_that_is_away(medcoss: Medcoss, plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    done = medcoss("classify", "chest", tmp_path / "a.png")
    assert (done.code, done.out) == (1, "")
    assert "does not answer (Connection refused); is the inference gateway running?" in done.err
    missing = medcoss("segment", "chest", tmp_path / "missing.png")
    assert (missing.code, "missing.png: No such file" in missing.err) == (1, True)


@pytest.mark.parametrize("arguments", [["embed", "m"], ["classify", "m", "a.png", "--text", "x"], ["jobs", "show"]])
def test_wrong_usage(medcoss: Medcoss, arguments: list[str]) -> None:
    done = medcoss(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err


def test_the_key_of_a_running_and_of_a_stopped_platform(medcoss: Medcoss, plane: ControlPlane, bare: Path) -> None:
    none = medcoss("key")
    assert (none.code, "holds no platform" in none.err) == (1, True)
    (bare / ".medcoss").mkdir()
    kept = load_state(bare / ".medcoss").admin_key
    assert medcoss("key").out.strip() == kept
    write_ready_file(bare / "running", plane.url)
    assert medcoss("key", "--data-dir", bare / "running", "--json").json == {"key": KEY}


def test_status_shows_parts_checks_and_jobs(medcoss: Medcoss, plane: ControlPlane, bare: Path, raw: str) -> None:
    write_ready_file(bare / ".medcoss", plane.url)
    status = medcoss("status", "--json").json
    assert status["ready"]
    assert status["checks"] == {"database": "ok", "redis": "ok", "s3": "ok"}
    assert {part["name"]: part["alive"] for part in status["parts"]} == {"redis": True, "worker": False}
    assert set(status["jobs"]) >= {"queued", "running", "succeeded"}
    shown = medcoss("status")
    assert "dead" in shown.out
    assert "ready (database ok, redis ok, s3 ok)" in shown.out


def test_status_of_a_platform_that_has_died(medcoss: Medcoss, bare: Path) -> None:
    write_ready_file(bare / ".medcoss", f"http://127.0.0.1:{free_port()}")
    done = medcoss("status", "--json")
    assert done.code == 1
    report = json.loads(done.out)
    assert not report["ready"]
    assert "does not answer" in report["problem"]


def test_up_says_in_one_sentence_why_it_cannot_start(bare: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("up", "--data-dir", bare / "data", "--port", taken.getsockname()[1])
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "starting on" in out
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1
    assert "is taken" in err


def test_sample_data_refuses_a_folder_that_is_used(medcoss: Medcoss, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    done = medcoss("sample-data", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "is not empty" in done.err


def test_version(medcoss: Medcoss) -> None:
    assert medcoss("--version").out.startswith("medcoss ")


def test_the_command_line_needs_only_the_client() -> None:
    heavy = ("torch", "numpy", "sqlalchemy", "psutil", "redis", "minio", "celery", "fastapi")
    code = f"import sys, services.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
