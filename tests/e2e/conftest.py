"""One embedded platform, started as a user starts it, for all end-to-end tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from medcoss.client import Client
from services.embedded.servers import free_port_pair
from tests.e2e.collector import Collector, collecting

START_TIMEOUT_S = 120


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """What takes the traces of the platform."""
    with collecting() as made:
        yield made


@pytest.fixture(scope="session")
def metrics_port() -> int:
    """Where the worker tells its numbers; beat does on the next one."""
    return free_port_pair()


@pytest.fixture(scope="session")
def platform_process(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector, metrics_port: int
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`medcoss up` and its data folder; afterwards no process may be left."""
    data_dir = tmp_path_factory.mktemp("platform") / "data"
    log = (data_dir.parent / "up.log").open("wb")
    quick = {
        "MEDCOSS_HEARTBEAT_S": "0.5", "MEDCOSS_LEASE_S": "10", "MEDCOSS_SWEEP_S": "2",
        "MEDCOSS_OTEL_ENDPOINT": collector.url, "MEDCOSS_METRICS_PORT": str(metrics_port),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", "up", "--data-dir", str(data_dir), "--port", str(free_port_pair())],
        stdout=log,
        stderr=subprocess.STDOUT,
        env=os.environ | quick,
        start_new_session=True,
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (data_dir / "platform.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail("the platform did not start:\n" + (data_dir.parent / "up.log").read_text())
        time.sleep(0.2)
    family = psutil.Process(process.pid).children(recursive=True)
    yield process, data_dir
    family += psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=90) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, f"left behind: {alive}"


@pytest.fixture(scope="session")
def client(platform_process: tuple[subprocess.Popen[bytes], Path]) -> Client:
    """The client a user would make: it finds server and key in the data folder."""
    return Client(data_dir=platform_process[1])
