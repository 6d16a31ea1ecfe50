"""Parameters of pages of numbered entries. Lists are in `services.api.lists`."""

from typing import Annotated

from fastapi import Query

from services.core.listing import foreign

InProject = Annotated[str | None, Query(max_length=64, description="only those of this project, by name or id")]
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before")]


def number_of(cursor: str | None) -> int | None:
    """The number that a cursor of numbered rows is."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal()):
        raise foreign(cursor)
    return min(int(cursor), 2**63 - 1)
