"""Projects keep to themselves, keys open and close, in every route."""

import ast
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import services
from services.api.app import create_app
from services.core import projects
from services.core.keys import Role, create_key
from services.core.registry import register_deployment
from services.core.settings import Settings
from services.core.tables import Owned
from tests.api.calls import announced, entry, pointers, prepared, preprocess, problem, trained, uploaded
from tests.api.parts import finished, sent, started
from tests.api.serving import Served
from tests.api.test_api_registry import deployment_info
from tests.core.owned import evaluation

SERVICES = Path(services.__file__).parent


@pytest.fixture
def south(served: Served) -> Iterator[httpx.Client]:
    """An operator of another project than the others."""
    with served.database.session() as session:
        project = projects.create(session, "south").id
        _, secret = create_key(
            session, name="south", owner="bo", role=Role.OPERATOR, projects=[project], expires_at=None
        )
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield client


ROUTES = [
    (method.upper(), path)
    for path, methods in create_app(Settings()).openapi()["paths"].items()
    for method in methods
    if "_id}" in path
]
# of requests that say something
_UPLOADS = "/v1/datasets/{dataset_id}/uploads"
BODIES = {
    _UPLOADS: {"path": "b", "size": 1},
    f"{_UPLOADS}/{{upload_id}}/urls": {"parts": [{"number": 1, "md5": "0" * 32}]},
    f"{_UPLOADS}/{{upload_id}}/complete": {"md5s": ["0" * 32]},
}


@pytest.fixture
def owned(served: Served) -> dict[str, str]:
    """A record of each kind in the project `default`, by the name of its path parameter."""
    draft = announced(served.operator, {"a": b"x"})
    dataset = draft["dataset"]["id"]
    upload = started(served.operator, dataset, "a")
    sent(served.operator, upload, {1: b"x"})
    assert finished(served.operator, upload, [b"x"]).status_code == 200
    assert served.operator.post(f"/v1/datasets/{dataset}/complete").status_code == 200
    trained(served.database, None, "mdl_00000000")
    with served.database.session() as session:
        register_deployment(
            session, "dep_00000000", info=deployment_info("owned", 1), model_id="mdl_00000000", job_id="job_1",
            project_id="prj_default",
        )  # fmt: skip
    hook = served.operator.post("/v1/webhooks", json={"url": "https://8.8.8.8/"}).json()["webhook"]["id"]
    message = served.operator.post(f"/v1/webhooks/{hook}/test").json()["id"]
    run = served.admin.post("/v1/gc", json={"dry_run": True}).json()["id"]
    films = {"kind": "preprocess", "spec": {"dataset": dataset, "recipe": {"name": "image_folder"}}}
    pipeline = served.operator.post("/v1/pipelines", json={"steps": {"films": films}}).json()
    gone = {"sha256": hashlib.sha256(b"x").hexdigest(), "reason": "withdrew"}
    erasure = served.operator.post("/v1/erasures", json=gone).json()["id"]
    return {
        "erasure_id": erasure, "run_id": run, "webhook_id": hook, "delivery_id": message,
        "deployment_id": "dep_00000000", "evaluation_id": evaluation(served.database, served.store, "evl_00000000"),
        "dataset_id": dataset, "upload_id": upload["id"], "job_id": pipeline["steps"][0]["job_id"],
        "pipeline_id": pipeline["id"],
        "model_id": "mdl_00000000", "project_id": "prj_default", "key_id": served.admin.get("/v1/me").json()["key_id"],
    }  # fmt: skip


def test_there_are_routes_with_ids() -> None:
    assert len(ROUTES) >= 18
    assert {"GET", "POST", "DELETE", "PATCH"} == {method for method, _ in ROUTES}


def test_another_projects_ids_answer_like_those_that_do_not_exist(
    served: Served, south: httpx.Client, owned: dict[str, str]
) -> None:
    for method, path in ROUTES:

        def answer(client: httpx.Client, ids: dict[str, str], url: str = path, how: str = method) -> httpx.Response:
            body = {"json": BODIES.get(url, {})} if how in {"POST", "PATCH"} else {}
            with client.stream(how, url.format_map(ids), **body) as response:  # type: ignore[arg-type]
                if response.headers["content-type"].partition(";")[0] != "text/event-stream":
                    # a stream that is seen does not end
                    response.read()
                return response

        missing = {name: value[:-3] + "zzz" for name, value in owned.items()}
        theirs, nobodys = answer(south, owned), answer(south, missing)
        administration = path.startswith(("/v1/keys", "/v1/gc")) or (
            method == "PATCH" and path.startswith("/v1/projects")
        )
        document = problem(theirs, 403 if administration else 404)
        other = problem(nobodys, theirs.status_code)
        known, unknown = (next(ids[n] for n in ids if f"{{{n}}}" in path) for ids in (owned, missing))
        assert document["detail"].replace(known, unknown) == other["detail"], (method, path)
        if method == "GET":
            assert answer(served.admin, owned).status_code == 200, path
    assert served.operator.get(f"/v1/jobs/{owned['job_id']}").json()["state"] == "queued", "nothing has happened to it"


def test_lists_show_the_callers_projects_only(served: Served, south: httpx.Client, owned: dict[str, str]) -> None:
    theirs = announced(south, {"b": b"y"})["dataset"]
    for name, count in (
        ("datasets", 1),
        ("jobs", 1),
        ("pipelines", 1),
        ("models", 1),
        ("deployments", 1),
        ("projects", 2),
    ):
        mine = {item["id"] for item in served.operator.get(f"/v1/{name}").json()["items"]}
        others = {item["id"] for item in south.get(f"/v1/{name}").json()["items"]}
        everything = {item["id"] for item in served.admin.get(f"/v1/{name}").json()["items"]}
        assert len(mine) == 1, name
        assert not mine & others
        assert everything == mine | others
        assert len(everything) == count + (name == "datasets")
        if name != "projects":
            narrow = served.admin.get(f"/v1/{name}", params={"project": "default"}).json()["items"]
            assert {item["id"] for item in narrow} == mine
            assert pointers(problem(south.get(f"/v1/{name}", params={"project": "default"}), 422)) == ["query:project"]
    assert theirs["project_id"] == south.get("/v1/projects").json()["items"][0]["id"]


def test_jobs_take_their_own_projects_inputs_only(served: Served, south: httpx.Client, owned: dict[str, str]) -> None:
    document = problem(preprocess(south, owned["dataset_id"]), 422)
    assert pointers(document) == ["/spec/dataset"]
    assert "does not exist" in document["detail"]
    own = uploaded(south, {"a": b"x"})
    assert pointers(problem(preprocess(south, own, depends_on=[owned["job_id"]]), 422)) == ["/depends_on/0"]
    assert pointers(problem(preprocess(served.admin, own), 422)) == ["/spec/dataset"], "an administrator, too"
    job = preprocess(served.admin, own, project="south").json()
    assert (job["project_id"], job["created_by"]) == (
        south.get(f"/v1/jobs/{job['id']}").json()["project_id"],
        "the admin",
    )
    assert preprocess(south, own).json()["created_by"] == "bo"
    assert pointers(problem(preprocess(south, own, project="default"), 422)) == ["/project"]
    listed = south.post("/v1/datasets", json={"name": "d", "project": "default", "files": [entry("a")]})
    assert pointers(problem(listed, 422)) == ["/project"]


def test_a_served_name_is_one_projects(served: Served, south: httpx.Client, owned: dict[str, str]) -> None:
    with served.database.session() as session:
        register_deployment(
            session, "dep_1", info=deployment_info("chest", 1), model_id=owned["model_id"], job_id="job_1",
            project_id="prj_default",
        )  # fmt: skip
    project = south.get("/v1/me").json()["projects"][0]["id"]
    prepared(served.database, "ds_00000001", project_id=project)
    trained(served.database, None, "mdl_00000001", project_id=project, recipe={"name": "image_folder"})

    def export(name: str) -> httpx.Response:
        return south.post("/v1/jobs", json={"kind": "export", "spec": {"model": "mdl_00000001", "name": name}})

    assert pointers(problem(export("chest"), 422)) == ["/spec/name"]
    assert export("lungs").status_code == 201


def test_the_life_of_a_key(served: Served) -> None:
    assert served.admin.post("/v1/projects", json={"name": "north", "description": "the north"}).status_code == 201
    body = {"name": "scanner", "owner": "ada", "role": "operator", "projects": ["north", "default"]}
    created = served.admin.post("/v1/keys", json=body).json()
    key_id, secret = created["key"]["id"], created["secret"]

    def me(key: str) -> httpx.Response:
        return httpx.get(f"{served.url}/v1/me", headers={"Authorization": f"Bearer {key}"})

    told = me(secret).json()
    assert (told["owner"], told["role"], told["all_projects"]) == ("ada", "operator", False)
    assert [project["name"] for project in told["projects"]] == ["default", "north"]
    second = served.admin.post(f"/v1/keys/{key_id}/rotate").json()["secret"]
    assert {me(secret).status_code, me(second).status_code} == {200}
    third = served.admin.post(f"/v1/keys/{key_id}/rotate", json={"grace_s": 0}).json()["secret"]
    assert [me(key).status_code for key in (secret, second, third)] == [401, 401, 200]
    listed = served.admin.get(f"/v1/keys/{key_id}").json()
    assert (listed["state"], listed["projects"], bool(listed["last_used_at"])) == ("active", ["default", "north"], True)
    assert served.admin.delete(f"/v1/keys/{key_id}").status_code == 204
    assert "was revoked" in problem(me(third), 401)["detail"]
    assert "was revoked" in problem(served.admin.post(f"/v1/keys/{key_id}/rotate"), 409)["detail"]
    keys = served.admin.get("/v1/keys").json()["items"]
    assert [key["state"] for key in keys if key["id"] == key_id] == ["revoked"]
    assert not any(word in str(keys) for word in (secret, second, third, "digest"))
    own = served.admin.get("/v1/me").json()["key_id"]
    assert "cannot revoke itself" in problem(served.admin.delete(f"/v1/keys/{own}"), 409)["detail"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"role": "root"}, "/role"),
        ({"projects": ["nowhere"]}, "/projects/0"),
        ({"projects": []}, "/projects"),
        ({"role": "admin", "projects": ["default"]}, "/projects"),
        ({"expires_at": (datetime.now(UTC) - timedelta(1)).isoformat()}, "/expires_at"),
        ({"name": ""}, "/name"),
    ],
)
def test_keys_that_cannot_be_made(refusing: Served, change: dict[str, Any], where: str) -> None:
    assert pointers(problem(refusing.admin.post("/v1/keys", json={"name": "k", "role": "viewer"} | change), 422)) == [
        where
    ]


def test_projects_are_renamed_but_for_default(served: Served) -> None:
    made = served.admin.post("/v1/projects", json={"name": "north"}).json()
    path, body = f"/v1/projects/{made['id']}", {"name": "arctic", "description": "cold"}
    seen = {"If-Match": served.admin.get(path).headers["etag"]}
    problem(served.admin.patch(path, json=body), 428)
    changed = served.admin.patch(path, json=body, headers=seen).json()
    assert (changed["name"], changed["description"]) == ("arctic", "cold")
    assert served.admin.get(path).json() == changed
    problem(served.admin.patch(path, json=body, headers=seen), 412)
    problem(served.admin.post("/v1/projects", json={"name": "arctic"}), 409)
    problem(served.admin.patch("/v1/projects/prj_default", json={"name": "other"}, headers={"If-Match": "*"}), 409)
    assert pointers(problem(served.admin.post("/v1/projects", json={"name": "prj_x"}), 422)) == ["/name"]


OWNED = {table.__name__ for table in Owned.__subclasses__()}


@pytest.mark.parametrize("path", sorted(SERVICES.glob("[ai][pn]*/**/*.py")), ids=lambda p: str(p.relative_to(SERVICES)))
def test_no_service_looks_up_what_projects_own_but_through_a_scope(path: Path) -> None:
    """House rule: `select(Job)` or `session.get(Job, ...)` in a route would show everybody's."""
    if path.name == "health.py":
        return  # counts, for everybody
    found = []
    for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        target = getattr(getattr(call.func, "value", None), "id", "")
        named = {n.id for argument in call.args for n in ast.walk(argument) if isinstance(n, ast.Name)} & OWNED
        if named and name in {"select", "get", "update", "delete", "query"} and target != "scope":
            found.append(f"{path.name}:{call.lineno}: {ast.unparse(call)}")
    assert found == []
