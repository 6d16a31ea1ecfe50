"""Lists that come in pages, and rows that grow."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from medcoss.client.errors import UnexpectedAnswer
from medcoss.client.transport import Transport

R = TypeVar("R", bound=BaseModel)


def pages(transport: Transport, path: str, record: type[R], params: dict[str, Any] | None = None) -> Iterator[R]:
    """All entries of a list; a page is asked for when it is needed."""
    cursor: str | None = None
    while True:
        document = _with_items(transport, path, (params or {}) | {"cursor": cursor})
        for item in document["items"]:
            yield transport.parse(record, item)
        cursor = document.get("next")
        if cursor is None:
            return


def parts(transport: Transport, path: str, fields: Iterable[str], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Some fields of all entries of a list."""
    cursor: str | None = None
    while True:
        document = _with_items(transport, path, params | {"cursor": cursor, "fields": ",".join(fields)})
        yield from document["items"]
        cursor = document.get("next")
        if cursor is None:
            return


def rows(
    transport: Transport, path: str, record: type[R], after: int = 0, params: dict[str, Any] | None = None
) -> Iterator[R]:
    """All rows behind `after` that there are now."""
    while True:
        document = _with_items(transport, path, {"after": after} | (params or {}))
        if not document["items"]:
            return
        for item in document["items"]:
            yield transport.parse(record, item)
        after = document["next"]


def _with_items(transport: Transport, path: str, params: dict[str, Any]) -> dict[str, Any]:
    document = transport.get(path, params)
    if not isinstance(document, dict) or "items" not in document:
        raise UnexpectedAnswer(f"{transport.server}{path} gave no list; is this the address of the right server?")
    return document
