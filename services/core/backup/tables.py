"""All rows of all tables, from one database to files and from files to another one."""

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Text,
    cast,
    column,
    delete,
    func,
    insert,
    inspect,
    select,
    table,
    text,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.types import NullType, TypeEngine

from services.core.backup.files import BackupError, Header, Kind, Table, lines_of, read_lines, writing_lines
from services.core.tables import Base, Project
from services.core.tables.base import UtcDateTime

PORTION = 1000
_TYPES: dict[Kind, TypeEngine[Any]] = {
    "moment": UtcDateTime(), "json": JSON(none_as_null=True), "bool": Boolean(create_constraint=False),
    "plain": NullType(),
}  # fmt: skip


def _kind(one: Column[Any]) -> Kind:
    if isinstance(one.type, UtcDateTime):
        return "moment"
    if isinstance(one.type, JSON):
        return "json"
    return "bool" if isinstance(one.type, Boolean) else "plain"


def dump(connection: Connection, folder: Path) -> dict[str, Table]:
    """Write all rows, table by table in the order in which they can be inserted. The connection is a snapshot."""
    return {one.name: _dump(connection, one, folder / f"{one.name}.jsonl.gz") for one in Base.metadata.sorted_tables}


def _dump(connection: Connection, one: SqlTable, path: Path) -> Table:
    kinds = [(c.name, _kind(c)) for c in one.columns]
    # JSON as it is stored: a null in it is not the same as nothing
    asked = [cast(c, Text) if kind == "json" else c for c, (_, kind) in zip(one.columns, kinds, strict=True)]
    statement = select(*asked).order_by(*one.primary_key.columns).execution_options(yield_per=PORTION)
    moments = [place for place, (_, kind) in enumerate(kinds) if kind == "moment"]
    with writing_lines(path) as writer:
        for found in connection.execute(statement):
            row = list(found)
            for place in moments:
                row[place] = row[place] and row[place].isoformat()
            writer.write(row)
    return Table(**lines_of(path, writer.lines).model_dump(), columns=kinds, counter=_counter(connection, one))


def _counter(connection: Connection, one: SqlTable) -> tuple[str, int] | None:
    """The last number that was given, also when its row has gone since."""
    counted = one.autoincrement_column
    if counted is None:
        return None
    if connection.dialect.name == "sqlite":
        last = connection.scalar(select(func.max(counted)))
        if one.dialect_options["sqlite"].get("autoincrement"):
            asked = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
            last = max(last or 0, connection.scalar(asked, {"name": one.name}) or 0)
    else:
        sequence = connection.scalar(select(func.pg_get_serial_sequence(one.name, counted.name)))
        last = connection.scalar(text(f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"))  # noqa: S608 - its own name
    return counted.name, int(last or 0)


def load(connection: Connection, folder: Path, header: Header) -> None:
    """Insert all rows into the tables of the backup's revision, which are there and empty. BackupError when they do not
    fit.
    """
    there = {name: inspect(connection).get_columns(name) for name in inspect(connection).get_table_names()}
    for name, about in header.tables.items():
        columns = {c["name"] for c in there.get(name, [])}
        if columns != {c for c, _ in about.columns}:
            raise BackupError(
                f"the table {name} of the backup does not fit to the revision {header.revision} that it tells; it was "
                "changed, or made by another program: take another backup"
            )
    # the one row that migrations make is in the backup, too
    connection.execute(delete(Project))
    for name, about in header.tables.items():
        target = table(name, *(column(c, _TYPES[kind]) for c, kind in about.columns))
        rows = _rows(folder / "tables" / f"{name}.jsonl.gz", about)
        while portion := list(islice(rows, PORTION)):
            connection.execute(insert(target), portion)
        _count_on(connection, name, about)


def _rows(path: Path, about: Table) -> Iterator[dict[str, Any]]:
    for values in read_lines(path):
        yield {name: _value(value, kind) for (name, kind), value in zip(about.columns, values, strict=True)}


def _value(value: Any, kind: Kind) -> Any:
    if value is None or kind in {"plain", "bool"}:
        return value
    if kind == "moment":
        return datetime.fromisoformat(value)
    found = json.loads(value)
    return JSON.NULL if found is None else found


def _count_on(connection: Connection, name: str, about: Table) -> None:
    """Have numbers go on behind the last one that was given."""
    if about.counter is None or about.counter[1] < 1:
        return
    counted, last = about.counter
    if connection.dialect.name == "postgresql":
        sequence = func.pg_get_serial_sequence(name, counted)
        connection.execute(select(func.setval(cast(sequence, Text), last)))
        return
    automatic = text("SELECT 1 FROM sqlite_master WHERE name = :name AND sql LIKE '%AUTOINCREMENT%'")
    if connection.scalar(automatic, {"name": name}):
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        place = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)")
        connection.execute(place, {"name": name, "last": last})


def count(connection: Connection, header: Header) -> None:
    """Compare the numbers of rows with those of the backup. BackupError names the table that differs."""
    for name, about in header.tables.items():
        found = connection.scalar(select(func.count()).select_from(table(name)))
        if found != about.lines:
            raise BackupError(f"the table {name} has {found} rows after the restore, {about.lines} were backed up")
