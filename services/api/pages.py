"""Numbered rows of one record in pages: files. Lists are in `services.api.lists`."""

from typing import Annotated, TypeVar

from fastapi import Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement

from services.core.listing import foreign
from services.core.tables import DatasetFile, ModelFile

F = TypeVar("F", DatasetFile, ModelFile)

Limit = Annotated[int, Query(ge=1, le=500, description="entries in a page")]
FileLimit = Annotated[int, Query(ge=1, le=5000, description="entries in a page")]
InProject = Annotated[str | None, Query(max_length=64, description="only those of this project, by name or id")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before")]


def file_page(
    session: Session, table: type[F], owner: ColumnElement[bool], limit: int, cursor: str | None
) -> tuple[list[F], str | None]:
    """Files of one record in the order in which they were announced, and the cursor of the next page."""
    after = number_of(cursor) or 0
    rows = list(session.scalars(select(table).where(owner, table.seq > after).order_by(table.seq).limit(limit + 1)))
    return rows[:limit], str(rows[limit - 1].seq) if len(rows) > limit else None


def number_of(cursor: str | None) -> int | None:
    """The number that a cursor of numbered rows is."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal()):
        raise foreign(cursor)
    return min(int(cursor), 2**63 - 1)
