"""What lists ask of the database: as many questions for 30 rows as for 3, and no reading of whole tables.

The lists are those of the OpenAPI document and the rows are made from the tables, so that new ones are covered, too.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Table, event, select

from medcoss.modalities import Kind
from medcoss.specs.records import DeploymentInfo
from services.core.lifecycle import State
from services.core.short_lists import EVERY
from services.core.tables import DEFAULT_PROJECT, Base
from tests.api.calls import model_info
from tests.api.serving import Served
from tests.core.rows import value
from tests.core.steps import SPEC

FEW, MANY = 3, 30
SERVED = DeploymentInfo(
    name="x", task="encoder", modality="xray", kind=Kind.IMAGE2D, triton_model="x", version=1, sample_shape=[1, 32, 32],
    recipe={}, input_names=["x"], output_names=["y"], max_difference=0,
)  # fmt: skip
# columns that mean something: where any value of the type will not do; of several, one after the other
MEANT: dict[str, Any] = {
    "jobs.kind": "preprocess", "jobs.state": tuple(State), "jobs.spec": SPEC, "jobs.retry_on": ["code"],
    "jobs.error": {"type": "t", "title": "t", "detail": "d", "reason": "code"}, "jobs.trace": None,
    "datasets.role": ("raw", "prepared", "buffer"), "datasets.state": ("uploading", "ready"), "datasets.parents": [],
    "datasets.info": None, "datasets.modality": "xray",
    "models.info": model_info().model_dump(mode="json"), "models.parents": [], "models.task": "encoder",
    "models.modality": "xray", "indexes.options": {"level": "study"}, "indexes.datasets": [], "indexes.info": None,
    "deployments.info": SERVED.model_dump(mode="json"), "deployments.state": "ready",
    "webhooks.topics": ["job.queued"], "webhook_deliveries.state": ("pending", "delivered", "failed"),
    "upload_sessions.state": ("open", "completed"), "upload_sessions.dataset_id": "0-id",
    "workers.state": ("idle", "running", "gone"), "workers.queues": ["jobs"],
    "api_keys.role": "viewer", "audit.outcome": "done", "promotions.action": "promoted",
    "erasures.unknown": [], "erasures.left": {}, "erasure_marks.about": [],
    "gc_runs.state": "succeeded", "gc_findings.kind": "orphan", "gc_findings.examples": [],
    # all of one parent
    "webhook_deliveries.webhook_id": "0-id", "promotions.alias": "0-name", "lineage.input_id": "0-id",
    "job_words.word": "chest", "dataset_words.word": "chest", "model_words.word": "chest",
}  # fmt: skip
NAMED = {"alias": "0-name", "index": "0-name"}
QUESTIONS = {"/v1/search": {"q": "chest"}}
# as long as the program is, or read from the object store
FIXED = {"/v1/job-kinds", "/v1/datasets/{dataset_id}/uploads/{upload_id}/parts"}


def entries(table: Table, first: int, last: int) -> Iterator[dict[str, Any]]:
    """Rows with the numbers from `first` on; each refers to the row of its number, and others all to row 0."""
    parents = [c.name for c in table.columns if c.foreign_keys and c.name != "project_id"]
    for number in range(first, last):
        row = {column.name: _cell(column, number) for column in table.columns}
        yield row
        if parents and number:
            yield {c.name: _cell(c, number if c.foreign_keys else MANY + number) for c in table.columns} | {
                parents[0]: row[parents[0]].replace(f"{number}-", "0-", 1)
            }


def _cell(column: Any, number: int) -> Any:
    name = f"{column.table.name}.{column.name}"
    if name in MEANT:
        meant = MEANT[name]
        return meant[number % len(meant)] if isinstance(meant, tuple) else meant
    if column.name == "project_id" and column.table.name != "key_projects":
        return DEFAULT_PROJECT
    return value(column, number, sqlite=False)


def fill(served: Served, first: int, last: int) -> None:
    """Rows of every table: `last` of each, and as many below the first one of their parents."""
    with served.database.session() as session:
        for table in Base.metadata.sorted_tables:
            keys = [column.name for column in table.primary_key]
            given = {tuple(row[key] for key in keys): row for row in entries(table, first, last)}
            known = {tuple(row) for row in session.execute(select(*table.primary_key))}
            rows = [row for key, row in given.items() if key not in known]
            if rows:
                session.execute(table.insert(), rows)


def variants(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema, or what it refers to, and those that it leaves the choice between."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    yield schema
    for other in schema.get("anyOf", []):
        yield from variants(document, other)


def lists(served: Served) -> dict[str, dict[str, Any]]:
    """Path and parameters (by name, with their schemas) of every operation that answers with `items`."""
    document = served.app.openapi()
    found = {}
    for path, operations in document["paths"].items():
        answers = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        schema = answers.get("application/json", {}).get("schema", {})
        if any("items" in one.get("properties", {}) for one in variants(document, schema)):
            found[path] = {p["name"]: p for p in operations["get"].get("parameters", [])}
    return found


def place(path: str, parameters: dict[str, Any]) -> str:
    """The path with the first row of what its placeholders name."""
    return path.format(**{n: NAMED.get(n, "0-id") for n, p in parameters.items() if p["in"] == "path"})


def asked(served: Served, path: str, parameters: dict[str, Any]) -> tuple[int, int]:
    """How many questions the database was asked for the longest page of a list, and how many entries that had."""
    limit = parameters.get("limit", {}).get("schema", {}).get("maximum")
    query = QUESTIONS.get(path, {}) | ({"limit": limit} if limit else {})
    with heard(served) as said:
        answer = served.admin.get(place(path, parameters), params=query)
    assert answer.status_code == 200, f"{path}: {answer.text}"
    return len(said), len(answer.json()["items"])


@contextmanager
def heard(served: Served) -> Iterator[list[tuple[str, Any]]]:
    """The questions, with their values, that the control plane asks the database meanwhile."""
    engine, said = served.app.state.parts.database.engine, list[tuple[str, Any]]()

    def hear(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        if text.startswith(("SELECT", "WITH")):
            said.append((text, values))

    event.listen(engine, "before_cursor_execute", hear)
    yield said
    event.remove(engine, "before_cursor_execute", hear)


def test_lists_ask_no_more_for_more_rows(served: Served) -> None:
    routes = lists(served)
    assert {"/v1/jobs", "/v1/models", "/v1/jobs/{job_id}/events", "/v1/search", "/v1/webhooks"} <= set(routes)
    # the key is known then
    served.admin.get("/v1/me")
    fill(served, 0, FEW)
    few = {path: asked(served, path, parameters) for path, parameters in routes.items()}
    fill(served, FEW, MANY)
    many = {path: asked(served, path, parameters) for path, parameters in routes.items()}
    assert {path: questions for path, (questions, _) in many.items()} == {path: n for path, (n, _) in few.items()}
    for path in set(routes) - FIXED:
        assert many[path][1] >= MANY > few[path][1] >= FEW, f"{path}: the rows are not those of this list"


# values that are what a parameter expects, by its name
GIVEN = {
    "name": "0", "modality": "xray", "tag": "0-tag", "metric": "0-name>=0", "project": "default", "q": "chest",
    "fields": "id",
}  # fmt: skip


def questions(served: Served, path: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A list by each of its filters, and in each of its orders."""
    yield {}
    listing = next((one for one in EVERY if re.sub(r"/\{\w+\}", "", path) == f"/v1/{one.name}"), None)
    yield from ({"sort": f"{sign}{sort.name}"} for sort in (listing.sorts if listing else ()) for sign in ("", "-"))
    for name, parameter in parameters.items():
        if parameter["in"] == "query" and name not in {"limit", "cursor", "sort", "fields"}:
            yield {name: GIVEN.get(name) or _sample(served.app.openapi(), parameter["schema"])}


def _sample(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    for one in variants(document, schema):
        if one.get("type") == "array":
            return _sample(document, one["items"])
        if "enum" in one or "const" in one:
            return one.get("const", one.get("enum", [None])[0])
        if "format" in one:
            return "2100-01-05T00:00:00Z"
        if one.get("type") in {"string", "integer", "boolean"}:
            return {"string": "0-x", "integer": 1, "boolean": True}[one["type"]]
    raise AssertionError(f"what is a value of {schema}?")


def scans(plan: dict[str, Any], under: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """The nodes of a plan that read tables, with what stands above each."""
    if "Relation Name" in plan:
        yield plan, under
    for below in plan.get("Plans", []):
        yield from scans(below, (*under, plan["Node Type"]))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_lists_read_no_whole_tables(served: Served) -> None:
    """With whole tables forbidden, PostgreSQL reads one only where no index helps."""
    served.admin.get("/v1/me")
    fill(served, 0, MANY)
    asked: dict[tuple[str, Any], str] = {}
    for path, parameters in lists(served).items():
        for question in questions(served, path, parameters):
            with heard(served) as said:
                answer = served.admin.get(place(path, parameters), params=QUESTIONS.get(path, {}) | question)
            assert answer.status_code == 200, f"{path} {question}: {answer.text}"
            asked |= {(text, tuple(sorted(values.items()))): f"{path} {question}" for text, values in said}
    slow: dict[str, set[str]] = {}
    with served.database.engine.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off; SET enable_sort = off")
        for (text, values), question in asked.items():
            ((found,),) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {text}", dict(values))
            for scan, under in scans(found[0]["Plan"]):
                in_order = "Sort" not in under or "Limit" in under[under.index("Sort") :]
                if scan["Node Type"] == "Seq Scan" or not in_order:
                    why = f"{scan['Node Type']} of {scan['Relation Name']}{'' if in_order else ', sorted'}"
                    slow.setdefault(why, set()).add(question)
    assert slow == {}
