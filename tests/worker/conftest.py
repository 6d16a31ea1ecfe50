"""Databases, a bucket, and settings under which workers react within moments."""

import shutil
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.core.db import Database
from services.core.logging import configure_logging
from services.core.settings import Settings
from services.core.storage import ObjectStore
from services.worker import process
from services.worker.supervisor import Supervisor
from tests.core.databases import (
    database,
    database_url,
    open_database,
    postgres_template,
    settings,
    shared_bucket,
    sqlite_template,
)
from tests.worker.scripts import PRELUDE, beginning_with

__all__ = [
    "database",
    "database_url",
    "open_database",
    "postgres_template",
    "settings",
    "shared_bucket",
    "sqlite_template",
]

QUICK = {"heartbeat_s": 0.1, "lease_s": 10.0, "stop_grace_s": 20.0, "threads": 1, "sweep_s": 0.5}


@pytest.fixture(scope="session", autouse=True)
def logs_as_in_production() -> None:
    configure_logging("INFO")


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings whose times are short."""
    return settings.model_copy(update=QUICK)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have children run a few lines of Python in place of a job."""

    def use(body: str, prelude: str = PRELUDE) -> None:
        monkeypatch.setattr(process, "BEGIN", beginning_with([sys.executable, "-I", "-c", prelude + body]))

    return use


@pytest.fixture(scope="module")
def world(
    s3: dict[str, str], redis_url: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """A platform that the tests of a module share."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copy(sqlite_template, folder / "medcoss.db")
    made = Settings(
        database_url=f"sqlite:///{folder / 'medcoss.db'}", redis_url=redis_url, s3_endpoint=s3["endpoint"],
        s3_bucket=f"test-{uuid.uuid4().hex[:8]}", s3_access_key=s3["access_key"], s3_secret_key=s3["secret_key"],
        cache_dir=folder / "cache", **QUICK,
    )  # fmt: skip
    ObjectStore(made).ensure_bucket()
    return made


@pytest.fixture(scope="module")
def world_database(world: Settings) -> Iterator[Database]:
    made = Database(world.database_url)
    yield made
    made.engine.dispose()


@pytest.fixture
def shutting_down() -> threading.Event:
    return threading.Event()


@pytest.fixture
def supervisor(quick: Settings, shutting_down: threading.Event) -> Iterator[Supervisor]:
    """A worker."""
    made = Supervisor(quick, shutting_down)
    yield made
    made.database.engine.dispose()
