"""Lists in pages: a cursor says where the page before has ended."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

from fastapi import Query
from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import ExecutableOption

from services.core.errors import FieldError, ValidationFailed
from services.core.scope import Scope
from services.core.tables import Alias, ApiKey, Dataset, DatasetFile, Deployment, Job, Model, ModelFile, Project

T = TypeVar("T", Alias, Dataset, Deployment, Job, Model)
P = TypeVar("P", Alias, ApiKey, Dataset, Deployment, Job, Model, Project)
F = TypeVar("F", DatasetFile, ModelFile)

Limit = Annotated[int, Query(ge=1, le=500, description="entries in a page")]
FileLimit = Annotated[int, Query(ge=1, le=5000, description="entries in a page")]
InProject = Annotated[str | None, Query(max_length=64, description="only those of this project, by name or id")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before")]

_TIME = "%Y%m%d%H%M%S%f"


def page(session: Session, scope: Scope, table: type[T], limit: int, cursor: str | None, *filters: ColumnElement[bool],
         options: Sequence[ExecutableOption] = ()) -> tuple[list[T], str | None]:  # fmt: skip
    """Rows that are seen, newest first, and the cursor of the next page. ValidationFailed for a foreign cursor."""
    return page_of(session, table, scope.select(table).where(*filters).options(*options), limit, cursor)


def page_of(session: Session, table: type[P], statement: Select[P], limit: int,
            cursor: str | None) -> tuple[list[P], str | None]:  # fmt: skip
    """Rows of a statement, newest first, and the cursor of the next page."""
    if cursor:
        moment, row_id = _parse(cursor)
        older = or_(table.created_at < moment, and_(table.created_at == moment, table.id < row_id))
        statement = statement.where(older)
    rows = list(session.scalars(statement.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], f"{last.created_at.astimezone(UTC):{_TIME}}.{last.id}"


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
        raise _foreign(cursor)
    return min(int(cursor), 2**63 - 1)


def _parse(cursor: str) -> tuple[datetime, str]:
    moment, _, row_id = cursor.partition(".")
    try:
        return datetime.strptime(moment, _TIME).replace(tzinfo=UTC), row_id
    except ValueError:
        raise _foreign(cursor) from None


def _foreign(cursor: str) -> ValidationFailed:
    detail = f"'{cursor}' is no cursor of this list; expected the `next` of the page before"
    return ValidationFailed(detail, [FieldError("query:cursor", "expected the `next` of the page before")])
