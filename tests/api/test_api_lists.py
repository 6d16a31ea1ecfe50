"""Lists over REST: filters, orders, sparse fields; cursors that belong to one question."""

from typing import Any

import pytest
from sqlalchemy import event

from tests.api.calls import pointers, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import Served
from tests.core.databases import engines


@pytest.fixture
def raw(served: Served) -> str:
    return uploaded(served.operator, {"a.png": b"pixels"}, name="Chest", tags=["Site:North"])


def listed(served: Served, path: str = "/v1/jobs", **params: Any) -> list[dict[str, Any]]:
    response = served.viewer.get(path, params=params)
    assert response.status_code == 200, response.text
    return list(response.json()["items"])


@engines
def test_jobs_are_filtered_sorted_and_cut(served: Served, raw: str) -> None:
    first, second, third = (
        preprocess(served.operator, raw, name=name, tags=tags, priority=priority, notes="by hand").json()["id"]
        for name, tags, priority in (("Bone", ["x"], 1), ("aorta", ["X", "y"], 3), ("chest", [], 2))
    )
    take(served.database, first)
    assert [job["id"] for job in listed(served, sort="name")] == [second, first, third]
    assert [job["id"] for job in listed(served, sort="-priority")] == [second, third, first]
    assert [job["id"] for job in listed(served, state=["queued", "paused"])] == [third, second]
    assert [job["id"] for job in listed(served, tag="X")] == [second, first]
    assert [job["id"] for job in listed(served, tag=["x", "y"], state="queued")] == [second]
    assert [job["id"] for job in listed(served, name="AO")] == [second]
    assert len(listed(served, input=raw, created_by="the operator", project="default")) == 3
    (job,) = listed(served, name="bo", fields="id,state, tags")
    assert job == {"id": first, "state": "running", "tags": ["x"]}
    page = served.viewer.get("/v1/jobs", params={"limit": 2, "sort": "name", "fields": "name"}).json()
    assert page["items"] == [{"name": "aorta"}, {"name": "Bone"}]
    following = {"cursor": page["next"], "sort": "name", "fields": "name,notes"}
    assert served.viewer.get("/v1/jobs", params=following).json() == {
        "items": [{"name": "chest", "notes": "by hand"}], "next": None,
    }  # fmt: skip
    problem(served.viewer.get("/v1/jobs", params=following | {"sort": "-name"}), 422)


def test_light_fields_read_no_heavy_columns(served: Served, raw: str) -> None:
    preprocess(served.operator, raw)
    trained(served.database, None, "mdl_1")
    prepared(served.database, "ds_1")
    statements: list[str] = []
    event.listen(
        served.app.state.parts.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2])
    )  # fmt: skip
    for path, field, columns, fields in (
        ("/v1/jobs", "spec", ("jobs.spec", "jobs.result", "jobs.error"), "id,state,progress,created_at"),
        ("/v1/models", "config", ("models.info",), "id,task,name"),
        ("/v1/datasets", "recipe", ("datasets.info",), "id,role,total_bytes"),
    ):
        statements.clear()
        (one, *_) = listed(served, path, fields=fields)
        assert set(one) == set(fields.split(","))
        selects = [s for s in statements if s.startswith("SELECT")]
        assert len(selects) == 2, "the key and the rows"
        assert not any(column in selects[1] for column in columns)
        assert field in listed(served, path, fields=field)[0]


@pytest.mark.parametrize(
    ("params", "place", "words"),
    [
        ({"fields": "id,colour"}, "query:fields", "there is no field 'colour'; expected some of id, project_id"),
        ({"fields": ","}, "query:fields", "no field is named"),
        ({"sort": "size"}, "query:sort", "there is no order 'size'; expected one of created_at, name, priority"),
        ({"sort": "-priority", "tag": "x"}, "query:sort", "cannot be sorted by priority; expected created_at"),
        ({"tag": "no spaces"}, "query:tag", "letters, digits"),
        ({"state": "done"}, "query:state", "'queued'"),
        ({"created_after": "yesterday"}, "query:created_after", "datetime"),
        ({"cursor": "abc"}, "query:cursor", "expected the `next`"),
        ({"project": "nowhere"}, "query:project", "there is no project 'nowhere'"),
    ],
)
def test_wrong_questions_are_told_what_is_right(
    refusing: Served, params: dict[str, str], place: str, words: str
) -> None:
    document = problem(refusing.viewer.get("/v1/jobs", params=params), 422)
    assert pointers(document) == [place]
    assert words in document["errors"][0]["detail"]


def test_datasets_models_and_their_metrics(served: Served, raw: str) -> None:
    assert [d["id"] for d in listed(served, "/v1/datasets", tag="site:north", role="raw", modality="xray")] == [raw]
    assert listed(served, "/v1/datasets", sort="-total_bytes", state="uploading") == []
    trained(served.database, None, "mdl_1")
    found = {"task": "encoder", "modality": "xray", "metric": "loss<0.6", "sort": "-metric.loss"}
    assert [m["id"] for m in listed(served, "/v1/models", **found)] == ["mdl_1"]
    assert listed(served, "/v1/models", metric="loss>0.6") == []
    document = problem(served.viewer.get("/v1/models", params={"metric": "loss~3"}), 422)
    assert "e.g. auc>=0.8" in document["errors"][0]["detail"]


def test_keys_projects_and_the_audit_log(served: Served) -> None:
    keys = served.admin.get("/v1/keys", params={"sort": "name", "role": ["viewer", "admin"], "fields": "name,role"})
    assert keys.json()["items"] == [{"name": "the admin", "role": "admin"}, {"name": "the viewer", "role": "viewer"}]
    for name in ("north", "south"):
        assert served.admin.post("/v1/projects", json={"name": name}).status_code == 201
    projects = served.admin.get("/v1/projects", params={"sort": "name", "fields": "name", "limit": 2}).json()
    assert [p["name"] for p in projects["items"]] == ["default", "north"]
    again = {"sort": "name", "cursor": projects["next"]}
    assert [p["name"] for p in served.admin.get("/v1/projects", params=again).json()["items"]] == ["south"]
    log = served.admin.get("/v1/audit", params={"sort": "at", "route": "/v1/projects", "actor": "the admin"}).json()
    assert [entry["status"] for entry in log["items"]] == [201, 201]


def _names(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    """The fields of an answer, of all its variants."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inner = [_names(document, variant) for variant in schema.get("anyOf", [])]
    return set(schema.get("properties", {})).union(*inner)


def test_every_list_can_be_cut_to_fields(served: Served) -> None:
    document, lists = served.app.openapi(), 0
    for path, methods in document["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "items" in _names(document, content.get("application/json", {}).get("schema", {})):
            lists += 1
            assert "fields" in {parameter["name"] for parameter in methods["get"]["parameters"]}, path
    assert lists >= 25


def test_rows_search_and_kinds_hold_the_fields_that_were_asked_for(served: Served, raw: str) -> None:
    job = preprocess(served.operator, raw, name="films").json()["id"]
    events = served.viewer.get(f"/v1/jobs/{job}/events", params={"fields": "type,attempt"}).json()
    assert events["items"] == [{"type": "queued", "attempt": 0}] and events["next"] > 0
    found = served.viewer.get("/v1/search", params={"q": "films", "fields": "id"}).json()
    assert found == {"items": [{"id": job}], "more": False}
    kinds = served.viewer.get("/v1/job-kinds", params={"fields": "name"}).json()["items"]
    assert {"name": "pretrain"} in kinds
    for path in (f"/v1/jobs/{job}/logs", f"/v1/jobs/{job}/metrics", "/v1/search?q=films", "/v1/job-kinds"):
        wrong = served.viewer.get(path, params={"fields": "colour"} | ({"q": "films"} if "search" in path else {}))
        assert pointers(problem(wrong, 422)) == ["query:fields"], path


@engines
def test_page_by_page_every_row_comes_once(served: Served, raw: str) -> None:
    """Whatever the order, also where many rows are alike in it."""
    for number in range(7):
        job = preprocess(served.operator, raw, name="same").json()["id"]
        if number % 2:
            assert served.operator.post(f"/v1/jobs/{job}/cancel").status_code == 200
        trained(served.database, None, f"mdl_{number}")
        prepared(served.database, f"ds_{number}")
        assert served.admin.post("/v1/projects", json={"name": f"p{number}"}).status_code == 201
    document, rows = served.app.openapi(), 0
    for path in ("/v1/jobs", "/v1/models", "/v1/datasets", "/v1/projects", "/v1/keys", "/v1/audit"):
        key = "seq" if path == "/v1/audit" else "id"
        (sort,) = [p for p in document["paths"][path]["get"]["parameters"] if p["name"] == "sort"]
        orders = [name.strip() for name in sort["description"].split(";")[0].split(",")]
        for order in [name for name in orders if not name.startswith("metric.")]:
            for direction in ("", "-"):
                whole = served.admin.get(path, params={"sort": direction + order, "limit": 500}).json()["items"]
                params: dict[str, Any] = {"sort": direction + order, "limit": 3, "fields": key}
                seen: list[Any] = []
                while params.get("cursor", "") is not None:
                    page = served.admin.get(path, params=params).json()
                    seen += [row[key] for row in page["items"]]
                    params["cursor"] = page["next"]
                # the log grows by nothing: reading is not put on record
                assert seen == [row[key] for row in whole], (path, direction + order)
                assert len(set(seen)) == len(seen), (path, order)
                rows += len(seen)
    assert rows > 200
