"""Engines, sessions and migrations, on SQLite and PostgreSQL."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from services.core.metrics import database_statements

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
# a database whose machine has gone says nothing: given up after 10 to 30 seconds, not after hours
ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
# as many as the threads that answer requests
POOL = {"pool_size": 10, "max_overflow": 30, "pool_timeout": 10}
_READING, _RESTS_SINCE = "medcoss_reading", "medcoss_rests_since"
REST_S = 1.0
# what a database that does not answer is known by
AWAY = (OperationalError, InterfaceError, PoolTimeout)


def make_engine(url: str, *, foreign_keys: bool = True) -> Engine:
    """An engine for `url`. SQLite gets WAL, and writing transactions that take the write lock at once.

    `foreign_keys` (SQLite only) is off for migrations, which copy tables. Values of statements are kept
    out of error messages: those reach the logs.
    """
    if make_url(url).get_backend_name() != "sqlite":
        patience = {"connect_timeout": CONNECT_TIMEOUT_S, **ALIVE}
        engine = create_engine(url, hide_parameters=True, connect_args=patience, **POOL)
        _ping_idle_ones(engine)
        database_statements(engine)
        return engine
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False}, **POOL
    )
    database_statements(engine)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins the transactions (below), not the driver
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = bool(connection.get_execution_options().get(_READING))
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reading else 'OFF'}")
        # a deferred transaction that turns from reading to writing can fail at once under load
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _ping_idle_ones(engine: Engine) -> None:
    """Have a connection that has rested tried before it is used: what it leads to may have gone meanwhile.

    A ping before every use would cost a request as much as its statements do.
    """

    @event.listens_for(engine, "checkin")
    def rest(_connection: Any, record: Any) -> None:
        record.info[_RESTS_SINCE] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def wake(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_RESTS_SINCE, math.inf) < REST_S:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            # the pool opens another one; those beside it have gone, too
            raise InvalidatePoolError


class Database:
    """Sessions on one database. `alone` is an engine for single statements, each a transaction of its own."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        self._writers = sessionmaker(self.engine, expire_on_commit=False)
        readonly = {_READING: True, "postgresql_readonly": True}
        self._readers = sessionmaker(self.engine.execution_options(**readonly), expire_on_commit=False)
        # to begin and to end a transaction costs PostgreSQL as much as a statement; on SQLite we begin them ourselves
        single = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        self.alone = self.engine.execution_options(**single)
        # SQLite's transactions are such by themselves
        steady = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        self._steady = sessionmaker(self.engine.execution_options(**readonly, **steady), expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session whose work is committed at the end, or rolled back on an error.

        On SQLite one at a time: no slow work (object store, network) belongs inside.
        """
        with self._writers() as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that can only read; it neither waits for writers nor makes them wait."""
        with self._readers() as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session that can only read, and to which nothing changes after its first statement."""
        with self._steady() as session, session.begin():
            yield session


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> None:
    """Bring the database to the newest schema; safe to call again, and by several processes at once."""
    command.upgrade(_config(url), "head")


def move(connection: Connection, revision: str | None) -> None:
    """Bring the schema to a revision within the connection's transaction: up, or with None down to nothing.

    On SQLite the connection comes from an engine without `foreign_keys`.
    """
    config = _config("")
    config.attributes["connection"] = connection
    if revision is None:
        command.downgrade(config, "base")
    else:
        command.upgrade(config, revision)


def revision_of(connection: Connection) -> str | None:
    """The revision that the schema of a database has; None when migrations have made nothing there."""
    return MigrationContext.configure(connection).get_current_revision()


def revisions() -> list[str]:
    """All revisions that this version knows, the newest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config("")).walk_revisions()]
