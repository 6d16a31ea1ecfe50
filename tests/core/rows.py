"""Rows for any table, made from nothing but its columns."""

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa


def value(column: sa.Column[Any], number: int, sqlite: bool) -> Any:
    """A value of the column that no other number gives; of a reference, that of the row with the same number."""
    for reference in column.foreign_keys:
        return value(reference.column, number, sqlite)
    kind = column.type.impl_instance if isinstance(column.type, sa.TypeDecorator) else column.type
    if isinstance(kind, sa.JSON):
        return {}
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.DateTime):
        moment = datetime(2100, 1, 1, tzinfo=UTC) + timedelta(days=number)
        return moment.replace(tzinfo=None) if sqlite else moment
    if isinstance(kind, sa.String):
        return f"{number}-{column.name}"[: kind.length]
    assert isinstance(kind, sa.Integer | sa.Float), f"what is put into {column.table.name}.{column.name}, a {kind!r}?"
    return number + 1
