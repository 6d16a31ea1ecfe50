"""The control plane behind a real HTTP server, with a key of every role."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.core.db import Database
from services.core.settings import Settings
from tests.api.serving import Served, ending, start, store_keys
from tests.core.databases import (
    database,
    database_url,
    open_database,
    postgres_template,
    settings,
    shared_bucket,
    sqlite_template,
)

__all__ = [
    "database",
    "database_url",
    "open_database",
    "postgres_template",
    "settings",
    "shared_bucket",
    "sqlite_template",
]


@pytest.fixture(scope="session", autouse=True)
def servers_end() -> Iterator[None]:
    """No server outlives the tests."""
    yield
    for thread, listener in ending:
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


@pytest.fixture
def serve(database: Database) -> Iterator[Callable[[Settings], Served]]:
    """Runs a control plane with other settings than the usual ones."""
    store_keys(database)
    with ExitStack() as stack:
        yield lambda chosen: start(stack, chosen, database)


@pytest.fixture
def served(settings: Settings, serve: Callable[[Settings], Served]) -> Served:
    """A control plane on an empty database and an empty bucket."""
    return serve(settings)


@pytest.fixture(scope="module")
def refusing(
    s3: dict[str, str], redis_url: str, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A control plane for many requests that are all refused, and so can share it."""
    path = tmp_path_factory.mktemp("refusing") / "medcoss.db"
    shutil.copy(sqlite_template, path)
    chosen = Settings(
        database_url=f"sqlite:///{path}", redis_url=redis_url, s3_endpoint=s3["endpoint"], s3_bucket="test-refusing",
        s3_access_key=s3["access_key"], s3_secret_key=s3["secret_key"],
    )  # fmt: skip
    database = Database(chosen.database_url)
    store_keys(database)
    with ExitStack() as stack:
        yield start(stack, chosen, database)
    database.engine.dispose()
