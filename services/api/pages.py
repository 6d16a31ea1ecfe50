"""Lists in pages: a cursor is the last identifier of the page before."""

from typing import Annotated, TypeVar

from fastapi import Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.core.tables import Dataset, Deployment, Job, Model

T = TypeVar("T", Dataset, Deployment, Job, Model)

Limit = Annotated[int, Query(ge=1, le=500, description="entries in a page")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before")]


def page(
    session: Session, table: type[T], limit: int, cursor: str | None, *filters: ColumnElement[bool]
) -> tuple[list[T], str | None]:
    """Rows newest first, and the cursor of the next page; identifiers sort by time."""
    statement = select(table).where(*filters)
    if cursor:
        statement = statement.where(table.id < cursor)
    rows = list(session.scalars(statement.order_by(table.id.desc()).limit(limit + 1)))
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None
