"""The compose stack for real, from a clean clone: `make test-deploy`, with docker and some minutes.

Variables choose images: MEDCOSS_TEST_S3_IMAGE the object store, MEDCOSS_TEST_TORCH_INDEX where torch comes from (empty:
from the index that pip is set up for), MEDCOSS_TEST_CONSOLE=given a control plane without the console, built without
Node. The rest of the settings is small, so that it runs on two cores.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medcoss.client import Client
from services.embedded.servers import free_port

pytestmark = pytest.mark.stack
REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = "medcoss-test"
ENDED = {"secrets", "migrations", "bucket"}
LASTING = {"api", "gateway", "s3", "postgres", "redis", "worker", "beat", "triton"}
# the demo takes minutes on an idle machine
DEMO_S = 3000


def say(what: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {what}", flush=True)  # noqa: T201 - make test-deploy shows it


def until(done: Callable[[], bool], what: str, patience_s: float) -> None:
    """Wait for a condition; it is looked at every second."""
    end = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}"
        time.sleep(1)


class Stack:
    """A compose project of a clone of its own."""

    def __init__(self, clone: Path) -> None:
        self.clone, self.file = clone, clone / "deploy" / "docker-compose.yml"
        self.ports = {name: free_port() for name in ("API_PORT", "GATEWAY_PORT", "S3_PORT")}
        self.settings = {
            "COMPOSE_PROJECT_NAME": PROJECT, "WORKER_MEMORY": "8g", "TRITON_MEMORY": "6g", "TRITON_TMP": "2g",
            "WORKER_SHM": "1g", "MEDCOSS_THREADS": "1", **{name: str(port) for name, port in self.ports.items()},
        }  # fmt: skip
        if image := os.environ.get("MEDCOSS_TEST_S3_IMAGE"):
            self.settings["S3_IMAGE"] = image
        if (index := os.environ.get("MEDCOSS_TEST_TORCH_INDEX")) is not None:
            self.settings["TORCH_INDEX"] = index
        if how := os.environ.get("MEDCOSS_TEST_CONSOLE"):
            self.settings["CONSOLE"] = how
        self.url = f"http://127.0.0.1:{self.ports['API_PORT']}"
        self.key = ""

    def compose(self, *arguments: str, timeout: float = 1800) -> str:
        """Output of a command. Fails with what it said."""
        (self.file.parent / ".env").write_text("".join(f"{k}={v}\n" for k, v in self.settings.items()))
        command = ["docker", "compose", "-f", str(self.file), *arguments]
        found = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert found.returncode == 0, f"{' '.join(arguments)}: {found.stdout[-2000:]}{found.stderr[-6000:]}"
        return found.stdout

    def up(self) -> None:
        """Start it and wait until it is healthy."""
        began = time.monotonic()
        self.compose("up", "-d", "--wait", "--wait-timeout", "1200", "--build")
        say(f"up and healthy after {time.monotonic() - began:.0f} s")
        self.key = self.compose(
            "run", "--rm", "--no-deps", "secrets", "python", "/init/make_secrets.py", "admin_key"
        ).strip()

    def containers(self) -> dict[str, dict[str, Any]]:
        """What docker knows of each container, by service."""
        ids = self.compose("ps", "-aq").split()
        found = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, check=True).stdout)
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def wait_healthy(self, service: str, patience_s: float = 600) -> None:
        """Wait for the container's own healthcheck."""
        until(lambda: self.containers()[service]["State"]["Health"]["Status"] == "healthy", service, patience_s)

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url, self.key)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if shutil.which("docker") is None or subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no docker daemon answers")
    clone = tmp_path_factory.mktemp("clone") / "medcoss"
    subprocess.run(["git", "clone", "-q", str(REPOSITORY), str(clone)], check=True)
    made = Stack(clone)
    try:
        made.up()
        yield made
    finally:
        if os.environ.get("MEDCOSS_TEST_KEEP_STACK") is None:
            made.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "30")
            say("taken down")


def test_no_container_is_root_or_writes_to_its_root_or_is_published_beyond_loopback(stack: Stack) -> None:
    found = stack.containers()
    assert set(found) == ENDED | LASTING
    for service, container in found.items():
        assert container["Config"]["User"].partition(":")[0] not in {"", "0", "root"}, service
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"], service
        assert host["Memory"] > 0 and host["PidsLimit"] > 0, service
        for bindings in (host["PortBindings"] or {}).values():
            assert [b["HostIp"] for b in bindings] == ["127.0.0.1"], service
        if service in LASTING:
            processes = subprocess.run(
                ["docker", "top", container["Id"], "-eo", "pid,uid"], capture_output=True, text=True, check=True
            ).stdout.splitlines()[1:]
            # docker's own init is the container's user, too
            assert processes and not any(line.split()[1] == "0" for line in processes), f"{service}: {processes}"
        environment = " ".join(container["Config"]["Env"])
        assert stack.key not in environment and "PASSWORD=" not in environment, service


def test_a_worker_offers_the_memory_that_its_container_has(stack: Stack) -> None:
    with stack.client() as client:
        offered = [one.memory_bytes for one in client.workers.list(state="idle")]
    assert offered == [8 * 2**30], "WORKER_MEMORY, and not the machine's"


# of the real python:3.11-slim-bookworm, whatever stands in for it here: in bytes as it lies on a disk and in a registry
BASE, BASE_PACKED = 130e6, 50e6


def test_images_without_torch_are_small(stack: Stack) -> None:
    """Below 400 MB as a registry stores them; the gateway's SimpleITK alone is 270 MB on a disk."""
    found = stack.containers()
    for service, largest in (("api", 400e6), ("gateway", 1000e6)):
        image = found[service]["Config"]["Image"]
        command = ["docker", "run", "--rm", "--user", "0", "--entrypoint", "sh", image, "-c",
                   "du -sb /opt/medcoss; tar c -C / opt/medcoss | gzip -6 | wc -c"]  # fmt: skip
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        size, packed = int(told[0]), int(told[2])
        say(f"{service}: {size / 1e6:.0f} MB on top of its base, {packed / 1e6:.0f} MB packed")
        assert size + BASE < largest and packed + BASE_PACKED < 400e6, service


def test_the_console_comes_with_the_control_plane(stack: Stack) -> None:
    answer = httpx.get(f"{stack.url}/console", follow_redirects=True)
    if stack.settings.get("CONSOLE") == "given":
        # a clean clone has built none
        assert "make console" in answer.text
        return
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    script = re.search(r'src="(/console/assets/[^"]+\.js)"', answer.text)
    assert script and httpx.get(stack.url + script[1]).status_code == 200


def test_the_demo_runs_while_every_container_is_restarted_once(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "report"
    command = [sys.executable, "-m", "services.cli.main", "demo", "--out", str(out), "--server", stack.url]
    began = time.monotonic()
    with (tmp_path / "demo.log").open("w") as log:
        demo = subprocess.Popen(
            command, cwd=stack.clone, env=os.environ | {"MEDCOSS_KEY": stack.key, "PYTHONPATH": str(stack.clone)},
            stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait_for_a_running_job(stack, demo)
            for service in ("redis", "s3", "worker", "postgres", "beat", "api", "gateway", "triton"):
                say(f"restarting {service}")
                stack.compose("restart", service)
                stack.wait_healthy(service)
            assert demo.poll() is None, "every container is restarted in the middle of the demo"
            demo.wait(DEMO_S)
        finally:
            demo.kill()
    told = (tmp_path / "demo.log").read_text()
    say(f"demo ended after {time.monotonic() - began:.0f} s")
    assert demo.returncode == 0, told[-6000:]
    assert (out / "index.html").is_file()
    # an image that lacks a package says so when it is needed, and not before
    logs = stack.compose("logs", "--no-log-prefix", "api", "gateway", "worker", "beat")
    assert "ModuleNotFoundError" not in logs and "Read-only file system" not in logs


def _wait_for_a_running_job(stack: Stack, demo: "subprocess.Popen[bytes]") -> None:
    with stack.client() as client:

        def runs() -> bool:
            assert demo.poll() is None, "the demo ended before any job ran"
            return any(job.state == "running" for job in client.jobs.list())

        until(runs, "a job of the demo runs", 600)


def _holdings(stack: Stack) -> dict[str, set[str]]:
    with stack.client() as client:
        return {
            "datasets": {one.id for one in client.datasets.list()},
            "models": {one.id for one in client.models.list()},
            "jobs": {f"{one.id} {one.state}" for one in client.jobs.list()},
        }


def test_down_and_up_keeps_all_data(stack: Stack) -> None:
    before = _holdings(stack)
    assert all(before.values()), before
    stack.compose("down", "--timeout", "60")
    stack.up()
    assert _holdings(stack) == before
    report = stack.compose("exec", "-T", "api", "medcoss", "gc", "--json", "--server", "http://127.0.0.1:8000",
                           "--key", stack.key)  # fmt: skip
    assert not [one for one in json.loads(report)["findings"] if one["kind"] in {"missing", "wrong_size"}]


def test_a_backup_is_written_by_the_control_planes_container(stack: Stack) -> None:
    stack.compose("exec", "-T", "api", "medcoss", "backup", "/backups/test")
    assert "backup.json" in stack.compose("exec", "-T", "api", "ls", "/backups/test")


def test_a_rolling_upgrade_loses_no_job(stack: Stack) -> None:
    """Version N with running jobs, migrations, version N+1: each job ends well, and none begins anew."""
    with stack.client() as client:
        dataset = next(one for one in client.datasets.list() if one.role == "prepared" and one.modality == "xray")
        spec = {"dataset": dataset.id, "size": "tiny"}
        # one runs for minutes, the other waits meanwhile
        jobs = [client.jobs.submit("pretrain", spec | {"epochs": epochs}) for epochs in (150, 20)]
        until(lambda: client.jobs.get(jobs[0].id).state not in {"waiting", "queued"}, "the first job runs", 600)
    for part, suffix in (("api", ""), ("gateway", ""), ("worker", "-cpu")):
        version = stack.settings.get("VERSION", "0.1.0")
        image = f"medcoss/{part}"
        subprocess.run(["docker", "tag", f"{image}:{version}{suffix}", f"{image}:0.1.1-test{suffix}"], check=True)
    stack.settings["VERSION"] = "0.1.1-test"
    stack.compose("run", "--rm", "migrations")
    stack.compose("up", "-d", "--wait", "--no-build")
    assert stack.containers()["worker"]["Config"]["Image"] == "medcoss/worker:0.1.1-test-cpu"
    with stack.client() as client:
        for job in jobs:
            ended = client.jobs.wait(job.id, timeout=1800)
            assert ended.state == "succeeded" and ended.attempt <= 2, ended
        went_on = [event.data.get("reason", "") for event in client.jobs.events(jobs[0].id)]
        assert any("goes on from its checkpoint" in reason for reason in went_on), went_on
