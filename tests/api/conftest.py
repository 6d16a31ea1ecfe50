"""The control plane behind a real HTTP server, with a key of every role."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from services.api.app import create_app
from services.core.db import Database
from services.core.keys import Role, store_key
from services.core.settings import Settings
from services.core.storage import ObjectStore
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

KEYS = {role: f"mk_{role.name.lower()}" for role in Role}


@dataclass(frozen=True)
class Served:
    """A running control plane: a client of each role, and what stands behind it."""

    url: str
    app: FastAPI
    admin: httpx.Client
    operator: httpx.Client
    viewer: httpx.Client
    stranger: httpx.Client
    database: Database
    store: ObjectStore
    settings: Settings


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of a real HTTP server with `app`."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        host, port = listener.getsockname()
        yield f"http://{host}:{port}"
    finally:
        # it ends by itself, while the next test begins
        server.should_exit = True
        ending.append((thread, listener))


ending: list[tuple[threading.Thread, socket.socket]] = []


@pytest.fixture(scope="session", autouse=True)
def servers_end() -> Iterator[None]:
    """No server outlives the tests."""
    yield
    for thread, listener in ending:
        thread.join(20)
        assert not thread.is_alive()
        listener.close()


def store_keys(database: Database) -> None:
    with database.session() as session:
        for role, key in KEYS.items():
            store_key(session, key, f"the {role.name.lower()}", role)


def start(stack: ExitStack, chosen: Settings, database: Database) -> Served:
    """Run a control plane until the stack is closed."""
    app = create_app(chosen)
    url = stack.enter_context(listening(app))

    def client(key: str | None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=60))

    roles = {role.name.lower(): client(key) for role, key in KEYS.items()}
    return Served(
        url, app, **roles, stranger=client(None), database=database, store=ObjectStore(chosen), settings=chosen
    )


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
