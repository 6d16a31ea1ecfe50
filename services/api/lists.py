"""Lists over HTTP: the parameters of a listing, pages, and sparse fields."""

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session, defer
from sqlalchemy.orm.attributes import set_committed_value

from services.api.schemas import Page, Rows
from services.core import projects
from services.core.errors import FieldError, ValidationFailed
from services.core.listing import Asked, Filter, Listing, read
from services.core.scope import EVERYTHING, Scope

T = TypeVar("T")
MOST_VALUES = 20
# a cursor holds what the list is sorted by: a path has up to 1024 characters
MOST_CURSOR = 8192
_FIELDS = "only these fields, with commas between them"
Fields = Annotated[str | None, Query(max_length=1024, description=_FIELDS)]
Wanted = frozenset[str]


class SparsePage(BaseModel):
    """A page of a list whose entries hold the `fields` that were asked for."""

    items: list[dict[str, Any]] = Field(description="entries with the fields that were asked for")
    next: str | None = Field(None, description="`cursor` of the following page; null on the last one")


class SparseRows(BaseModel):
    """Ordered rows that hold the `fields` that were asked for."""

    items: list[dict[str, Any]] = Field(description="the rows, in order, with the fields that were asked for")
    next: int = Field(description="`after` of the following answer")


@dataclass(frozen=True)
class Heavy:
    """A column that is read only where one of `fields` is shown; `empty` stands in for it else."""

    column: Any
    fields: Wanted
    empty: Any = None


@dataclass(frozen=True)
class Shown(Generic[T]):
    """How a list is shown: `views` turns rows into records of `out`, of which only the wanted fields count."""

    listing: Listing[T]
    out: type[BaseModel]
    views: Callable[[Session, Sequence[T], Wanted], Sequence[BaseModel]]
    heavy: tuple[Heavy, ...] = ()


@dataclass(frozen=True)
class Question:
    """What a request asks of a list."""

    asked: Asked
    project: str | None = None
    fields: str | None = None


def question(listing: Listing[Any], default: int = 100, most: int = 500) -> Callable[..., Question]:
    """A dependency that reads the parameters of a list, each with its type and words for OpenAPI. A page has `default`
    entries unless `limit` says otherwise, and at most `most`.
    """
    sorts = ", ".join([s.name for s in listing.sorts] + (["metric.NAME"] if listing.extra_sort else []))
    parameters = {
        "limit": (Annotated[int, Query(ge=1, le=most, description="entries in a page")], default),
        "cursor": (
            Annotated[str | None, Query(max_length=MOST_CURSOR, description="`next` of the page before, with the same "
                                        "filters and the same order")], None),
        "sort": (
            Annotated[str | None, Query(max_length=128, description=f"{sorts}; with - in front downwards. By default "
                                        f"{listing.first}, or what the filters go along with",
                                        examples=[listing.first])], None),
        "fields": (
            Annotated[str | None, Query(max_length=1024, description=_FIELDS,
                                        examples=[listing.first.removeprefix("-")])], None),
    }  # fmt: skip
    if listing.project is not None and listing.name != "projects":
        description = "only those of this project, by name or id"
        parameters["project"] = (Annotated[str | None, Query(max_length=64, description=description)], None)
    for wanted in listing.filters:
        parameters[wanted.name] = (_parameter(wanted), None)

    def ask(**given: Any) -> Question:
        values = {f.name: _values(given[f.name]) for f in listing.filters}
        asked = Asked(given["limit"], given["cursor"], given["sort"], {n: v for n, v in values.items() if v})
        return Question(asked, given.get("project"), given["fields"])

    ask.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for name, (annotation, default) in parameters.items()
        ]
    )
    return ask


def _parameter(wanted: Filter) -> Any:
    if wanted.repeated:
        return Annotated[
            list[wanted.type] | None,  # type: ignore[name-defined]
            Query(max_length=MOST_VALUES, description=f"{wanted.help}; may be repeated"),
        ]
    return Annotated[wanted.type | None, Query(description=wanted.help)]


def _values(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(dict.fromkeys(given)) if isinstance(given, list) else (given,)


def answer(session: Session, scope: Scope, shown: Shown[Any], asked: Question, *within: str) -> Response:
    """A page of a list, with the wanted fields only; `within` names the record whose rows they are."""
    fields = wanted_fields(asked.fields, shown.out)
    wanted = Wanted(shown.out.model_fields) if fields is None else fields
    narrow = scope if shown.listing.project is not None else EVERYTHING
    narrow = projects.narrowed(session, narrow, asked.project)
    light = [heavy for heavy in shown.heavy if not heavy.fields & wanted]
    options = [defer(heavy.column, raiseload=True) for heavy in light]
    rows, following = read(session, shown.listing, asked.asked, narrow, options=options, within=within)
    for row in rows:
        for heavy in light:
            set_committed_value(row, heavy.column.key, heavy.empty)
    items = shown.views(session, rows, wanted)
    return page_of(items, fields, next=following)


def page_of(items: Sequence[BaseModel], fields: Wanted | None, **rest: str | int | None) -> Response:
    """A page with these fields of its entries, None for all, and what else it tells."""
    include = None if fields is None else set(fields)
    page = {"items": [item.model_dump(mode="json", include=include) for item in items], **rest}
    return Response(json.dumps(page, separators=(",", ":"), ensure_ascii=False), media_type="application/json")


def wanted_fields(text: str | None, out: type[BaseModel]) -> Wanted | None:
    """The fields of a sparse answer; None for all. ValidationFailed names those that there are."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in out.model_fields]
    if unknown or not names:
        what = f"there is no field '{unknown[0]}'" if unknown else "no field is named"
        detail = f"{what}; expected some of {', '.join(out.model_fields)}"
        raise ValidationFailed(detail, [FieldError("query:fields", detail)])
    return Wanted(names)


def response_model(out: type[BaseModel]) -> Any:
    """The type of a list's answers."""
    return Page[out] | SparsePage  # type: ignore[valid-type]


def rows_model(out: type[BaseModel]) -> Any:
    """The type of answers with ordered rows."""
    return Rows[out] | SparseRows  # type: ignore[valid-type]
