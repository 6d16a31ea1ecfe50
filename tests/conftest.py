"""Real servers and real data, started once and shared by all tests."""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# before numpy or torch are imported: two processes of tests, and their trainings, share the cores
os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 2) // 2, 1)))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def temporary_files_go_with_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What killed processes leave behind lies in the folder of this run, which pytest removes some runs later."""
    before, tempfile.tempdir = os.environ.get("TMPDIR"), None
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("tmp"))
    yield
    tempfile.tempdir = None
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


@pytest.fixture(scope="session", autouse=True)
def network_is_watched() -> None:
    from tests import transactions

    transactions.watch()


@pytest.fixture(autouse=True)
def transactions_end_before_network_calls(network_is_watched: None) -> Iterator[None]:
    """Whatever a test does: no thread of it calls over a network with a transaction open."""
    from tests import transactions

    transactions.found.clear()
    yield
    assert not transactions.found, transactions.found[0]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real images, volumes and reports (MEDCOSS_TEST_DATA)."""
    folder = Path(os.environ.get("MEDCOSS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set MEDCOSS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of golden numbers of the published model (MEDCOSS_TEST_PARITY)."""
    folder = Path(os.environ.get("MEDCOSS_TEST_PARITY", REPOSITORY.parent / "shared" / "parity"))
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}; set MEDCOSS_TEST_PARITY")
    return folder


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis."""
    from services.embedded.servers import Process, free_port, redis_server

    port = free_port()
    with Process(redis_server(tmp_path_factory.mktemp("redis"), port)):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real S3 server: its endpoint, access_key and secret_key."""
    from services.embedded.servers import Process, free_port, s3_server

    port = free_port()
    keys = {"access_key": "medcoss-test", "secret_key": "medcoss-test-secret"}
    with Process(s3_server(tmp_path_factory.mktemp("s3"), port, **keys)):
        yield {"endpoint": f"127.0.0.1:{port}", **keys}


@pytest.fixture
def make_settings(s3: dict[str, str], redis_url: str, tmp_path: Path) -> Callable[..., object]:
    """Settings on a fresh SQLite file and a fresh bucket; keyword arguments override."""
    from services.core.settings import Settings

    def make(**overrides: object) -> Settings:
        values: dict[str, object] = {
            "database_url": f"sqlite:///{tmp_path / 'medcoss.db'}",
            "redis_url": redis_url,
            "s3_endpoint": s3["endpoint"],
            "s3_access_key": s3["access_key"],
            "s3_secret_key": s3["secret_key"],
            "s3_bucket": f"test-{uuid.uuid4().hex[:12]}",
            "cache_dir": tmp_path / "cache",
            "threads": 1,
            "drain_s": 0,
        }
        return Settings(**(values | overrides))

    return make


@pytest.fixture
def settings(make_settings: Callable[..., object]) -> object:
    """Default test settings with an existing, empty bucket and a migrated database."""
    from services.core.db import migrate
    from services.core.storage import ObjectStore

    made = make_settings()
    migrate(made.database_url)
    ObjectStore(made).ensure_bucket()
    return made
