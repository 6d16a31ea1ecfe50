"""One control plane for all tests of the client."""

from collections.abc import Iterator

import pytest

from medcoss.client import Client
from tests.medcoss.client.control_plane import KEY, ControlPlane, control_plane


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server or key from outside."""
    for name in ("MEDCOSS_SERVER", "MEDCOSS_KEY", "MEDCOSS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def plane(s3: dict[str, str], redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane on real S3 and Redis."""
    with control_plane(s3, redis_url, tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    """A client with an operator's key."""
    with Client(plane.url, KEY) as made:
        yield made
