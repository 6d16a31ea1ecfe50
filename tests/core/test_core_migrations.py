"""Every migration, up and down, on a database in which every table has rows; those that come later are covered, too.

Before each step every table gets two rows more, as its schema of that moment asks for them: one with all columns, one
with those alone that must not be empty.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from services.core.db import _config
from services.core.tables import Base
from tests.core.databases import empty_engines
from tests.core.rows import value

# what a step back must not keep: the revision that is taken back, and why
GIVEN_UP = {
    ("0004", "api_keys"): "keys that have ended would come back to life",
    ("0011", "idempotency_keys"): "only jobs could be made under a key",
    ("0021", "deployments"): "what is not exported yet has no version",
}
# what a step forward replaces
REPLACED = {("0011", "idempotency_keys", "digest"): "it was computed in another way"}

Row = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What a database holds: its tables, those that others refer to first, and their rows by primary key."""

    tables: list[sa.Table]
    rows: dict[str, dict[tuple[Any, ...], Row]]

    @classmethod
    def of(cls, connection: sa.Connection) -> "State":
        found = sa.MetaData()
        found.reflect(connection)
        tables = [table for table in found.sorted_tables if table.name != "alembic_version"]
        return cls(tables, {table.name: _rows(connection, table) for table in tables})

    def schema(self) -> dict[str, list[str]]:
        """What makes up each table, without the order in which it is told."""
        return {table.name: sorted(_parts(table)) for table in self.tables}


def _rows(connection: sa.Connection, table: sa.Table) -> dict[tuple[Any, ...], Row]:
    keys = [column.name for column in table.primary_key]
    found = connection.exec_driver_sql(f'SELECT * FROM "{table.name}"').mappings()
    return {tuple(row[key] for key in keys): dict(row) for row in found}


def _parts(table: sa.Table) -> Iterator[str]:
    for column in table.columns:
        default = column.server_default.arg if isinstance(column.server_default, sa.DefaultClause) else None
        yield f"{column.name} {column.type!r} {column.nullable} {default}"
    for index in table.indexes:
        where = [str(options.get("where")) for options in index.dialect_options.values()]
        yield f"{index.name} {[str(e) for e in index.expressions]} {index.unique} {where}"
    for constraint in table.constraints:
        yield f"{type(constraint).__name__} {constraint.name} {sorted(c.name for c in constraint.columns)} " + str(
            [e.target_fullname for e in getattr(constraint, "elements", [])]
        )


def steps() -> list[str]:
    """All revisions, the oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config("")).walk_revisions()][::-1]


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def fill(connection: sa.Connection, tables: list[sa.Table], number: int) -> None:
    sqlite = connection.dialect.name == "sqlite"
    for table in tables:
        for row, whole in ((number, True), (number + 1, False)):
            given = {c.name: value(c, row, sqlite) for c in table.columns if whole or not c.nullable}
            connection.execute(table.insert().values(given))


def stepped(url: str, before: State | None, revision: str, up: bool) -> State:
    """The database now: of the rows before, those that still have a place are there and the same."""
    with connected(url) as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == [], f"{revision} broke references"
        now = State.of(connection)
    for table in before.rows.keys() & now.rows.keys() if before else ():
        old, new = before.rows[table], now.rows[table]
        if not up and (revision, table) in GIVEN_UP:
            assert old.keys() & new.keys(), f"{revision}: {table} lost every row"
        else:
            assert old.keys() <= new.keys(), f"{revision}: {table} lost {list(old.keys() - new.keys())[:3]}"
        allowed = {column for r, t, column in REPLACED if up and (r, t) == (revision, table)}
        for key in old.keys() & new.keys():
            changed = {c: (old[key][c], new[key][c]) for c in old[key].keys() & new[key].keys() - allowed
                       if old[key][c] != new[key][c]}  # fmt: skip
            assert not changed, f"{revision}: {table} {key} has changed: {changed}"
    return now


@empty_engines
def test_every_step_keeps_what_is_there(empty_url: str) -> None:
    """From nothing to the newest, filled after every step; then back, each step also taken forward again."""
    config, known = _config(empty_url), steps()
    now: State | None = None
    schemas: dict[str, Any] = {}
    for number, revision in enumerate(known):
        command.upgrade(config, revision)
        now = stepped(empty_url, now, revision, up=True)
        schemas[revision] = now.schema()
        with connected(empty_url) as connection:
            fill(connection, now.tables, 2 * number)
            now = State(now.tables, {table.name: _rows(connection, table) for table in now.tables})
    assert now is not None and set(now.rows) == set(Base.metadata.tables)
    assert all(len(found) >= 2 for found in now.rows.values())
    with connected(empty_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
    for older, revision in reversed(list(pairwise(known))):
        command.downgrade(config, older)
        back = stepped(empty_url, now, revision, up=False)
        assert back.schema() == schemas[older], f"{revision} taken back leaves another schema than {older}"
        command.upgrade(config, revision)
        again = stepped(empty_url, back, revision, up=True)
        assert again.schema() == schemas[revision], f"{revision} taken back and forward again is another"
        command.downgrade(config, older)
        now = back
    command.downgrade(config, "base")
    with connected(empty_url) as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]


@empty_engines
@pytest.mark.parametrize("table", ["audit", "promotions"])
def test_what_is_only_added_to_stays_so(empty_url: str, table: str) -> None:
    """A migration that copies a table on SQLite would drop its triggers."""
    command.upgrade(_config(empty_url), "head")
    with connected(empty_url) as connection:
        fill(connection, State.of(connection).tables, 0)
    for statement in (f"UPDATE {table} SET seq = seq + 10", f"DELETE FROM {table}"):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), connected(empty_url) as connection:
            connection.execute(sa.text(statement))
