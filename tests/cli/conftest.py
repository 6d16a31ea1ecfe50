"""The command line against a real control plane."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from medcoss.client import Client
from services.cli.main import run
from tests.medcoss.client.control_plane import KEY, ControlPlane, control_plane


@dataclass(frozen=True)
class Done:
    """What a command line has left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be JSON and nothing else."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@pytest.fixture(scope="session")
def plane(s3: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane on real S3 and Redis."""
    with control_plane(s3, redis_url, tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(autouse=True)
def environment(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Server and key of the control plane, a terminal of 100 columns."""
    monkeypatch.setenv("MEDCOSS_SERVER", plane.url)
    monkeypatch.setenv("MEDCOSS_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("MEDCOSS_DATA_DIR", raising=False)
    monkeypatch.delenv("MEDCOSS_TRACE", raising=False)
    return monkeypatch


@pytest.fixture
def medcoss(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs a command line in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return call


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    """A client to check with."""
    with Client(plane.url, KEY) as made:
        yield made


@pytest.fixture(scope="session")
def raw(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Id of a raw dataset."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "a.png").write_bytes(b"x")
    with Client(plane.url, KEY) as made:
        return made.datasets.upload(folder, name="raw-x-rays-of-the-chest", modality="xray").id


def start(*arguments: object) -> subprocess.Popen[str]:
    """A command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "services.cli.main", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background hands down an ignored Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
