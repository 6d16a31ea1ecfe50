"""Lists: filtered, sorted and in pages, as far as indexes carry it.

A `Listing` describes one list as data: what it is filtered and sorted by, and the `Way`s in which an index gives the
rows in their order. A question that no way carries is refused, so that no list grows slower with its table.
`services.core.lists` holds the descriptions, tests hold each way against the indexes.

A filter of several values, and a filter that a way's index begins with but nobody has asked for, is answered as
several short reads of that index, one for each value, merged: so one index serves its filters in any combination.
"""

import base64
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Select, Subquery, and_, literal, or_, select, tuple_, union_all
from sqlalchemy.orm import Session
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import ExecutableOption

from services.core.errors import FieldError, ValidationFailed
from services.core.scope import EVERYTHING, Scope
from services.core.tables.base import UtcDateTime
from services.core.tables.labels import folded

T = TypeVar("T")
# short reads that are merged; above it the database decides
MOST_READS = 50
_END = "\U0010ffff"
_RANGES = ("from", "before", "prefix", "start")


@dataclass(frozen=True)
class Filter:
    """What a list can be asked for by. `type` is that of one value, `values` are all that there are, where known.

    equal: one of the values. from, before, prefix, start: a range of the column that the list is then sorted by; a
    prefix is compared without regard to case, a start as it is. member: the rows named by `ids` of the value; of
    several values all must hold. any: the same, of several one.
    """

    name: str
    help: str
    column: Any = None
    how: Literal["equal", "from", "before", "prefix", "start", "member", "any"] = "equal"
    type: Any = str
    values: tuple[str, ...] = ()
    ids: Callable[[Any], Select[Any]] | None = None

    @property
    def repeated(self) -> bool:
        """True when several values may be given."""
        return self.how in {"equal", "member", "any"}


@dataclass(frozen=True)
class Sort:
    """An order; rows whose column is empty are not in it when `some`, and unless a filter says otherwise, only rows
    with the values of `among` are. No two rows have the same place in it when it is `unique`.
    """

    name: str
    column: Any
    some: bool = False
    among: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    unique: bool = False


@dataclass(frozen=True)
class Via:
    """Another table that gives the identifiers in order: `where` names what it begins with."""

    owner: Any
    project: Any
    key: Any
    where: ColumnElement[bool]


@dataclass(frozen=True)
class Way:
    """What indexes carry: filters that they begin with, the orders that follow, and filters that may be added because
    what is left is few. `via` leads through the table of a member filter.
    """

    equal: tuple[str, ...] = ()
    sorts: tuple[str, ...] = ()
    rest: tuple[str, ...] = ()
    via: str | None = None


@dataclass(frozen=True)
class Listing(Generic[T]):
    """One list. `project` is the column of the project, None where there is none; `via` finds the table of a member
    filter's value, `extra_sort` an order that no column holds, by its name. A list of what one record has names the
    columns that say `within` which: every index begins with them. `only` leaves rows out that the list is not of, most
    of them being of it.
    """

    name: str
    table: type[T]
    key: Any
    project: Any
    filters: tuple[Filter, ...]
    sorts: tuple[Sort, ...]
    ways: tuple[Way, ...]
    vias: Mapping[str, Callable[[Any], Via]] = field(default_factory=dict)
    extra_sort: Callable[[str], Via | None] | None = None
    first: str = "-created_at"
    within: tuple[Any, ...] = ()
    only: ColumnElement[bool] | None = None

    def filter(self, name: str) -> Filter:
        """The filter of this name."""
        return next(f for f in self.filters if f.name == name)


@dataclass(frozen=True)
class Asked:
    """What a caller wants of a list: values of filters, order (`-` for downwards), size and cursor of the page."""

    limit: int = 100
    cursor: str | None = None
    sort: str | None = None
    filters: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Plan:
    """How a question is answered."""

    way: Way
    sort: str
    down: bool
    key: Any
    some: bool
    via: Via | None
    # the column of the list's own table that is sorted by
    own: Any
    among: Mapping[str, tuple[Any, ...]]
    # nothing but the key is needed to tell the places of rows apart
    alone: bool


def read(session: Session, listing: Listing[T], asked: Asked, scope: Scope = EVERYTHING, *,
         options: Sequence[ExecutableOption] = (),
         within: Sequence[str] = ()) -> tuple[list[T], str | None]:  # fmt: skip
    """A page of rows and the cursor of the next one; `within` names the record whose rows they are.

    ValidationFailed names what cannot be asked for.
    """
    plan = _plan(listing, asked)
    digest = _digest(listing, asked, plan, within)
    after = _parse(listing, asked.cursor, digest, plan.key)
    mine = [column == value for column, value in zip(listing.within, within, strict=True)]
    reads = [_branch(listing, asked, plan, mine + fixed, after) for fixed in _fixed(listing, asked, plan, scope)]
    if len(reads) == 1 and plan.own is listing.key:
        # the rows stand in this order themselves
        statement = reads[0].with_only_columns(listing.table, plan.key.label("key"))
    else:
        page = _page(reads, asked, plan)
        order = [page.c.key] if plan.alone else [page.c.key, page.c.id]
        statement = (
            select(listing.table, page.c.key).join(page, listing.key == page.c.id).where(*mine)
            .order_by(*(column.desc() if plan.down else column.asc() for column in order))
        )  # fmt: skip
    found = session.execute(statement.options(*options)).all()
    rows = [row for row, _ in found[: asked.limit]]
    if len(found) <= asked.limit:
        return rows, None
    last, value = found[asked.limit - 1]
    return rows, _cursor(digest, value, getattr(last, listing.key.key))


def _page(reads: Sequence[Select[Any]], asked: Asked, plan: _Plan) -> Subquery:
    """Identifiers and sorting values of a page, and one more."""
    if len(reads) == 1:
        return reads[0].subquery("page")
    merged = union_all(*(select(*one.subquery().c) for one in reads)).subquery("merged")
    order = [merged.c.key] if plan.alone else [merged.c.key, merged.c.id]
    return (
        select(merged.c.id, merged.c.key)
        .order_by(*(column.desc() if plan.down else column.asc() for column in order))
        .limit(asked.limit + 1).subquery("page")
    )  # fmt: skip


def _fixed(listing: Listing[Any], asked: Asked, plan: _Plan, scope: Scope) -> list[list[ColumnElement[bool]]]:
    """The conditions of each short read: its project, and a value of each filter that the index begins with."""
    project = plan.via.project if plan.via else listing.project
    choices: list[list[ColumnElement[bool]]] = []
    if listing.project is not None and scope.projects is not None:
        choices.append([project == one for one in sorted(scope.projects)])
    for name in plan.way.equal:
        wanted = listing.filter(name)
        values = asked.filters.get(name) or plan.among.get(name) or wanted.values
        choices.append([wanted.column == value for value in dict.fromkeys(values)])
    number = math.prod(map(len, choices))
    if 0 < number <= MOST_READS:
        return [list(chosen) for chosen in product(*choices)]
    # too many, or a caller without any project
    together = [] if listing.project is None else [scope.among(project)]
    for name in plan.way.equal:
        if some := asked.filters.get(name) or plan.among.get(name):
            together.append(listing.filter(name).column.in_(some))
    return [together]


def _branch(listing: Listing[Any], asked: Asked, plan: _Plan, fixed: Sequence[ColumnElement[bool]],
            after: tuple[Any, Any] | None) -> Select[Any]:  # fmt: skip
    owner = plan.via.owner if plan.via else listing.key
    statement = select(owner.label("id"), plan.key.label("key")).where(*fixed)
    if plan.via is not None:
        statement = statement.where(plan.via.where)
    # what the other table begins with is done already
    left = {n: v[1:] if n == plan.way.via else v for n, v in asked.filters.items() if n not in plan.way.equal}
    ranged = {n for n in left if plan.own is not None and listing.filter(n).column is plan.own}
    conditions = [_condition(listing, listing.filter(name), values, plan) for name, values in left.items() if values]
    if plan.via is not None and (set(filter(left.get, left)) - ranged or plan.way.equal):
        statement = statement.join(listing.table, listing.key == owner)
    if plan.some:
        statement = statement.where(plan.key.is_not(None))
    if listing.only is not None:
        statement = statement.where(listing.only)
    order = (plan.key,) if plan.alone else (plan.key, owner)
    if after is not None:
        place = tuple_(*order)
        bound = tuple_(*(literal(value, column.type) for value, column in zip(after, order, strict=False)))
        statement = statement.where(place < bound if plan.down else place > bound)
    return (
        statement.where(*conditions)
        .order_by(*(column.desc() if plan.down else column.asc() for column in order)).limit(asked.limit + 1)
    )  # fmt: skip


def _condition(listing: Listing[Any], wanted: Filter, values: Sequence[Any], plan: _Plan) -> ColumnElement[bool]:
    column = wanted.column
    if plan.via is not None and column is not None and column is plan.own:
        # the other table carries the same moment, behind its index
        column = plan.key
    if wanted.how == "equal":
        return column.in_(values)  # type: ignore[no-any-return]
    if wanted.how == "from":
        return column >= values[0]  # type: ignore[no-any-return]
    if wanted.how == "before":
        return column < values[0]  # type: ignore[no-any-return]
    if wanted.how in {"prefix", "start"}:
        start = folded(values[0]) if wanted.how == "prefix" else values[0]
        return and_(column >= start, column < start + _END)
    assert wanted.ids is not None
    together = and_ if wanted.how == "member" else or_
    return together(*(listing.key.in_(wanted.ids(value)) for value in values))


def _plan(listing: Listing[Any], asked: Asked) -> _Plan:
    """The first way that carries the question; ValidationFailed when there is none."""
    given = {name for name, values in asked.filters.items() if values}
    for sort in [asked.sort] if asked.sort else _orders(listing):
        name, down = sort.removeprefix("-"), sort.startswith("-")
        extra = listing.extra_sort(name) if listing.extra_sort else None
        known = next((s for s in listing.sorts if s.name == name), None)
        if extra is None and known is None:
            raise _no_sort(listing, sort)
        for way in listing.ways:
            if not _carries(listing, way, given, "extra" if extra is not None else name, known):
                continue
            via = extra
            if way.via is not None and way.via in listing.vias:
                via = listing.vias[way.via](asked.filters[way.via][0])
            own, some, among = (known.column, known.some, known.among) if known else (None, False, {})
            alone = via is None and known is not None and (known.unique or known.column is listing.key)
            return _Plan(way, name, down, via.key if via is not None else own, some, via, own, among, alone)
    raise _not_carried(listing, given, asked.sort)


def _orders(listing: Listing[Any]) -> list[str]:
    """The orders that are tried when none is asked for."""
    others = [f"{'-' if s.some else ''}{s.name}" for s in listing.sorts if s.name != listing.first.removeprefix("-")]
    return [listing.first, *others]


def _carries(listing: Listing[Any], way: Way, given: set[str], sort: str, known: Sort | None) -> bool:
    if sort not in way.sorts or (way.via is not None and way.via != "extra" and way.via not in given):
        return False
    for name in given - set(way.equal) - set(way.rest) - {way.via}:
        wanted = listing.filter(name)
        if wanted.how not in _RANGES or known is None or wanted.column is not known.column:
            return False
    # what nobody asked for is read for each value that there is
    return all(name in given or listing.filter(name).values for name in way.equal)


def _no_sort(listing: Listing[Any], sort: str) -> ValidationFailed:
    names = ", ".join([s.name for s in listing.sorts] + (["metric.NAME"] if listing.extra_sort else []))
    detail = f"there is no order '{sort}'; expected one of {names}, with - in front for downwards"
    return ValidationFailed(detail, [FieldError("query:sort", detail)])


def _not_carried(listing: Listing[Any], given: set[str], sort: str | None) -> ValidationFailed:
    """Says what goes together."""
    names = [s.name for s in listing.sorts] + (["extra"] if listing.extra_sort else [])
    fitting = [
        name for name in names for known in [next((s for s in listing.sorts if s.name == name), None)]
        if any(_carries(listing, way, given, name, known) for way in listing.ways)
    ]  # fmt: skip
    asked = ", ".join(sorted(given))
    if fitting:
        shown = ", ".join("metric.NAME" if name == "extra" else name for name in fitting)
        detail = f"a list by {asked} cannot be sorted by {(sort or '').removeprefix('-')}; expected {shown}"
        return ValidationFailed(detail, [FieldError("query:sort", detail)])
    detail = f"a list cannot be filtered by {asked} together; leave one of them out"
    return ValidationFailed(detail, [FieldError(f"query:{name}", "does not go with the others") for name in
                                     sorted(given)])  # fmt: skip


def _digest(listing: Listing[Any], asked: Asked, plan: _Plan, within: Sequence[str]) -> str:
    """What a cursor belongs to."""
    parts = {name: sorted(map(str, values)) for name, values in asked.filters.items() if values}
    text = json.dumps([listing.name, plan.sort, plan.down, parts, *within], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cursor(digest: str, value: Any, row_id: Any) -> str:
    kept = value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
    text = json.dumps([digest, kept, row_id], separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _parse(listing: Listing[Any], cursor: str | None, digest: str, key: Any) -> tuple[Any, Any] | None:
    if not cursor:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found, value, row_id = json.loads(text)
        value, row_id = _typed(value, key.type), _typed(row_id, listing.key.type)
    except (ValueError, TypeError):
        raise foreign(cursor) from None
    if found != digest:
        expected = "expected the `next` of a page with the same filters and the same order"
        detail = f"this cursor is of another list, or of other filters or another order; {expected}"
        raise ValidationFailed(detail, [FieldError("query:cursor", expected)])
    return value, row_id


def _typed(value: Any, column_type: Any) -> Any:
    kind = datetime if isinstance(column_type, UtcDateTime) else column_type.python_type
    if kind is datetime:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if kind is float and type(value) in {int, float} and math.isfinite(value):
        return float(value)
    if type(value) is not kind or (isinstance(value, int) and abs(value) >= 2**63):
        raise ValueError("not a value of this column")
    return value


def foreign(cursor: str) -> ValidationFailed:
    """The error for what is no cursor."""
    detail = f"'{cursor}' is no cursor of this list; expected the `next` of the page before"
    return ValidationFailed(detail, [FieldError("query:cursor", "expected the `next` of the page before")])
