"""Lists: every way is carried by an index, and pages through any order give each row once."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Column, Table, create_engine, event, insert, text, update
from sqlalchemy.sql import visitors

from medcoss.specs import EVERY_KIND
from services.core import labels
from services.core.db import Database, _config, migrate
from services.core.errors import ValidationFailed
from services.core.lifecycle import State
from services.core.listing import Asked, Filter, Listing, Way, read
from services.core.lists import JOBS, MODELS
from services.core.projects import create
from services.core.scope import EVERYTHING, Scope
from services.core.search import find
from services.core.short_lists import EVERY
from services.core.tables import DEFAULT_PROJECT, Dataset, Job, Model, ModelMetric
from tests.api.calls import trained
from tests.core.databases import empty_engines, engines
from tests.core.steps import submitted

START = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("preprocess", "pretrain", "export")
STATES = ("queued", "running", "failed", "succeeded")


def filled(database: Database, number: int = 60) -> dict[str, dict[str, Any]]:
    """Jobs of two projects and three owners, many of them of the same moment; by id."""
    with database.session() as session:
        other = create(session, "other").id
    rows = [
        {
            "id": f"job_{i:06d}", "project_id": (DEFAULT_PROJECT, other)[i % 2], "kind": KINDS[i % 3],
            "name": f"{'Chest' if i % 5 else 'chew'} {i % 7}", "state": STATES[i % 4], "spec": {}, "priority": i % 3,
            "max_attempts": 1, "created_by": f"owner {i % 3}", "created_at": START + timedelta(minutes=i // 4),
            "finished_at": START + timedelta(hours=i % 9) if STATES[i % 4] in {"failed", "succeeded"} else None,
            "ran_s": float(i % 11) / 3,
        }
        for i in range(number)
    ]  # fmt: skip
    with database.session() as session:
        session.execute(insert(Job), rows)
        jobs = [session.get_one(Job, row["id"]) for row in rows]
        labels.made(session, jobs, {job.id: ["all", f"t{i % 4}"] for i, job in enumerate(jobs)})
    return {row["id"]: row | {"name_key": row["name"].casefold()} for row in rows}


def ids(database: Database, listing: Listing[Any] = JOBS, scope: Scope = EVERYTHING, limit: int = 7, sort: str | None
        = None, **filters: Any) -> list[str]:  # fmt: skip
    """Identifiers of all pages."""
    found: list[str] = []
    asked = {name: value if isinstance(value, tuple) else (value,) for name, value in filters.items()}
    cursor = None
    with database.reading() as session:
        while True:
            rows, cursor = read(session, listing, Asked(limit, cursor, sort, asked), scope)
            assert len(rows) == limit or cursor is None
            found += [row.id for row in rows]
            if cursor is None:
                return found


def columns(table: Table) -> list[list[str]]:
    """The columns of every index, the primary key's too."""
    unique = [list(c.columns.keys()) for c in table.constraints if hasattr(c, "columns")]
    return [[column.name for column in index.columns] for index in table.indexes] + unique


def carried(table: Table, wanted: list[str]) -> bool:
    return any(index[: len(wanted)] == wanted for index in columns(table))


@pytest.mark.parametrize(
    ("listing", "way"),
    [pytest.param(one, way, id=f"{one.name}-{'-'.join(way.equal) or way.via or 'all'}") for one in EVERY
     for way in one.ways],
)  # fmt: skip
def test_an_index_carries_every_way(listing: Listing[Any], way: Way) -> None:
    for sort in way.sorts:
        if way.via is not None:
            via = listing.vias[way.via]("x") if way.via in listing.vias else MODELS.extra_sort("metric.x")  # type: ignore[misc]
            assert via is not None
            table, key, owner = via.owner.table, via.key.key, [via.owner.key]
            begin = [via.where.left.key]  # type: ignore[attr-defined]
            project = via.project.key
        else:
            table, owner = listing.table.__table__, [listing.key.key]
            order = next(s for s in listing.sorts if s.name == sort)
            key = order.column.key
            # what no two rows share needs nothing behind it
            if order.unique or order.column is listing.key:
                owner = []
            begin = [column.key for column in (*listing.within, *(listing.filter(name).column for name in way.equal))]
            # a project is found by its key
            owned = listing.project is not None and listing.project is not listing.key
            project = listing.project.key if owned else None
        together = [sorted(index) for index in columns(table)]
        assert carried(table, [*begin, key, *owner]), f"{begin} by {key} over all projects: {together}"
        if project is not None:
            assert carried(table, [project, *begin, key, *owner]), f"{begin} by {key} in a project"


@pytest.mark.parametrize(
    ("listing", "wanted"),
    [pytest.param(one, each, id=f"{one.name}-{each.name}") for one in EVERY for each in one.filters],
)
def test_an_index_begins_with_every_filter(listing: Listing[Any], wanted: Filter) -> None:
    if wanted.column is not None:
        # an order that only some states are in begins with them
        among = next((sort.among for sort in listing.sorts if sort.column is wanted.column), {})
        table, begin = listing.table.__table__, [listing.filter(n).column.key for n in among] + [wanted.column.key]
        # and so does a list that always begins with some
        if wanted.name not in listing.ways[0].equal and len(listing.ways) == 1:
            begin = [listing.filter(name).column.key for name in listing.ways[0].equal] + begin
        begin = [column.key for column in listing.within] + begin
    else:
        assert wanted.ids is not None
        values = {"metric": "loss>1"}
        compared = visitors.iterate(wanted.ids(values.get(wanted.name, "x")).whereclause)
        column = next(part for part in compared if isinstance(part, Column))
        table, begin = column.table, [column.key]
    assert carried(table, begin), f"{wanted.name}: {columns(table)}"


@engines
@pytest.mark.parametrize("sort", [s.name for s in JOBS.sorts])
def test_pages_give_every_row_once_and_in_order(database: Database, sort: str) -> None:
    known = filled(database)
    column = next(s for s in JOBS.sorts if s.name == sort)
    value = column.column.key
    shown = column.among.get("state", tuple(State))
    for down in (False, True):
        there = [row for row in known.values() if not column.some or row[value] is not None]
        in_order = [r["id"] for r in sorted(there, key=lambda r: (r[value], r["id"]), reverse=down)]
        expected = [job_id for job_id in in_order if known[job_id]["state"] in shown]
        assert ids(database, sort=f"{'-' if down else ''}{sort}") == expected
        for states in (("failed",), ("failed", "running")):
            wanted = [job_id for job_id in in_order if known[job_id]["state"] in states]
            assert ids(database, sort=f"{'-' if down else ''}{sort}", state=states) == wanted
        own = [job_id for job_id in expected if known[job_id]["project_id"] == DEFAULT_PROJECT]
        assert ids(database, sort=f"{'-' if down else ''}{sort}", scope=Scope.of(DEFAULT_PROJECT)) == own


@engines
def test_filters_go_together(database: Database) -> None:
    known = filled(database)
    newest = sorted(known, key=lambda i: (known[i]["created_at"], i), reverse=True)

    def where(condition: Any) -> list[str]:
        return [job_id for job_id in newest if condition(known[job_id])]

    owner = where(lambda r: r["created_by"] == "owner 1" and r["kind"] in {"pretrain", "export"})
    assert ids(database, created_by="owner 1", kind=("pretrain", "export")) == owner
    assert ids(database, created_by=("owner 0", "owner 2")) == where(lambda r: r["created_by"] != "owner 1")
    noon = START + timedelta(minutes=7)
    assert ids(database, created_after=noon, state="failed") == where(
        lambda r: r["created_at"] >= noon and r["state"] == "failed"
    )
    assert ids(database, created_before=noon) == where(lambda r: r["created_at"] < noon)
    third = [job_id for i, job_id in enumerate(known) if i % 4 == 3]
    assert ids(database, tag="t3") == [job_id for job_id in newest if job_id in third]
    assert ids(database, tag=("all", "t3"), state="succeeded", created_before=noon) == [
        job_id for job_id in newest if job_id in third and known[job_id]["created_at"] < noon
    ]
    assert ids(database, tag=("t1", "t3")) == []
    several = Scope.of(DEFAULT_PROJECT, "prj_of_nobody")
    assert ids(database, scope=several, tag="t2") == [job_id for job_id in newest if known[job_id]["project_id"] ==
                                                      DEFAULT_PROJECT and int(job_id[-6:]) % 4 == 2]  # fmt: skip
    assert ids(database, scope=Scope(frozenset())) == []
    many = Scope.of(DEFAULT_PROJECT, *(f"prj_{i}" for i in range(200)))
    assert ids(database, scope=many, state="failed") == ids(database, scope=Scope.of(DEFAULT_PROJECT), state="failed")


@engines
def test_names_are_looked_up_by_their_beginning(database: Database) -> None:
    known = filled(database)
    by_name = sorted(known, key=lambda i: (known[i]["name_key"], i))
    assert ids(database, name="CHE") == by_name
    assert ids(database, name="chew") == [i for i in by_name if known[i]["name"].startswith("chew")]
    assert ids(database, name="chest 3", state="failed", sort="-name") == [
        i for i in reversed(by_name) if known[i]["name"] == "Chest 3" and known[i]["state"] == "failed"
    ]
    assert ids(database, name="%") == ids(database, name="est") == []


def test_what_a_job_needs_and_reads(database: Database) -> None:
    first = submitted(database)
    second = submitted(database, first, spec={"dataset": "ds_other0000000", "recipe": {"name": "image_folder"}})
    assert ids(database, depends_on=first) == [second]
    assert ids(database, input="ds_other0000000", kind="preprocess") == [second]
    assert ids(database, depends_on=second) == []


@engines
def test_models_by_their_numbers(database: Database) -> None:
    for number, value in enumerate((0.5, 0.9, 0.7, 0.8)):
        model_id = trained(database, None, f"mdl_{number}")
        with database.session() as session:
            session.execute(update(ModelMetric).where(ModelMetric.model_id == model_id).values(value=value))
    assert ids(database, MODELS, sort="-metric.loss", limit=2) == ["mdl_1", "mdl_3", "mdl_2", "mdl_0"]
    assert ids(database, MODELS, sort="metric.loss", metric="loss>=0.7", limit=2) == ["mdl_2", "mdl_3", "mdl_1"]
    assert ids(database, MODELS, metric=("loss>0.5", "loss<0.9")) == ["mdl_3", "mdl_2"]
    assert ids(database, MODELS, sort="metric.loss", created_after=datetime(2030, 1, 1, tzinfo=UTC)) == []
    assert ids(database, MODELS, sort="metric.dice") == []


def refused(database: Database, sort: str | None = None, cursor: str | None = None, **filters: Any) -> str:
    with pytest.raises(ValidationFailed) as caught, database.reading() as session:
        read(session, JOBS, Asked(3, cursor, sort, {name: (value,) for name, value in filters.items()}))
    assert caught.value.errors[0].pointer.startswith("query:")
    return caught.value.detail


def test_what_no_index_carries_is_refused_with_what_is(database: Database) -> None:
    assert "expected one of created_at, name, priority, finished_at, ran_s" in refused(database, sort="size")
    assert "cannot be sorted by priority; expected created_at" in refused(database, sort="-priority", tag="x")
    assert "expected name" in refused(database, sort="created_at", name="chest")
    assert "name, tag together; leave one of them out" in refused(database, name="chest", tag="x")


def test_a_cursor_is_for_one_question(database: Database) -> None:
    filled(database)
    with database.reading() as session:
        _, cursor = read(session, JOBS, Asked(3, None, "name"))
    assert cursor is not None
    assert "the same filters and the same order" in refused(database, sort="-name", cursor=cursor)
    assert "the same filters and the same order" in refused(database, sort="name", cursor=cursor, state="failed")
    for broken in (cursor[:-4], "x", "bnVsbA", "WzEsMiwzXQ", cursor + "ä", "W10"):
        assert "is no cursor of this list" in refused(database, sort="name", cursor=broken)


@engines
def test_a_page_is_one_query(database: Database) -> None:
    filled(database)
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    for filters in ({}, {"state": ("failed", "running")}, {"tag": ("all",)}, {"created_by": ("owner 1",)}):
        with database.reading() as session:
            rows, _ = read(session, JOBS, Asked(10, None, None, filters))
        assert len(rows) == 10
        assert sum(s.startswith("SELECT") for s in statements) == 1, statements
        statements.clear()


def test_all_states_and_kinds_are_read() -> None:
    """What is not asked for is read value by value: a value that is not known would be missing from lists."""
    assert JOBS.filter("state").values == tuple(State)
    assert JOBS.filter("kind").values == tuple(EVERY_KIND)


@empty_engines
def test_what_was_there_before_is_found(empty_url: str) -> None:
    command.upgrade(_config(empty_url), "0009")
    at = "'2026-01-01 00:00:00'"
    info = json.dumps({"task": "encoder", "modality": "xray", "metrics": {"loss": 0.25}})
    engine = create_engine(empty_url)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO jobs (id, project_id, kind, name, state, spec, priority, rank, turn, attempt,"
                " max_attempts, fence, created_by, created_at, backoff_s, ran_s) VALUES ('job_1', 'prj_default',"
                f" 'pretrain', 'Röntgen NIGHT', 'queued', '{{}}', 0, 0, 0, 0, 3, 0, 'me', {at}, 0, 0)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO models (id, project_id, name, prefix, info, parents, created_at) VALUES ('mdl_1',"
                f" 'prj_default', 'First', 'models/mdl_1', :info, '[]', {at})"
            ),
            {"info": info},
        )
        connection.execute(
            text(
                "INSERT INTO datasets (id, project_id, name, description, role, state, prefix, file_count, total_bytes,"
                " parents, created_at) VALUES ('ds_1', 'prj_default', 'chest', 'from the ward', 'raw', 'ready', 'd', 0,"
                f" 0, '[]', {at})"
            )
        )
    engine.dispose()
    migrate(empty_url)
    database = Database(empty_url)
    assert ids(database, name="röntgen n") == ["job_1"]
    assert ids(database, MODELS, task="encoder", modality="xray", metric="loss<0.3", name="fi") == ["mdl_1"]
    with database.reading() as session:
        found = [find(session, EVERYTHING, table, [word], 5)[0].id for table, word in (
            (Job, "night"), (Model, "first"), (Dataset, "ward"))]  # fmt: skip
    database.engine.dispose()
    assert found == ["job_1", "mdl_1", "ds_1"]
    command.downgrade(_config(empty_url), "0009")
    migrate(empty_url)
