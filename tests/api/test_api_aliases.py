"""Aliases of models: promoted, gone back, resolved when a job is submitted; every move is kept."""

import threading
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import delete, select
from sqlalchemy.exc import DBAPIError

from services.core import aliases, projects
from services.core.db import Database
from services.core.keys import Role, create_key
from services.core.tables import DEFAULT_PROJECT, Alias, JobEvent, JobInput, Promotion
from tests.api.calls import LIST, pointers, prepared, problem, trained
from tests.api.serving import Served
from tests.core.databases import engines

ONE, TWO, THREE = (f"mdl_0000000{number}" for number in (1, 2, 3))
PRODUCTION = "/v1/aliases/production"


@pytest.fixture
def models(served: Served) -> list[str]:
    return [trained(served.database, served.store, model) for model in (ONE, TWO, THREE)]


@pytest.fixture
def south(served: Served) -> Iterator[httpx.Client]:
    """An operator of another project."""
    with served.database.session() as session:
        project = projects.create(session, "south").id
        _, secret = create_key(session, name="s", owner="bo", role=Role.OPERATOR, projects=[project], expires_at=None)
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield client


def promoted(client: httpx.Client, model: str, note: str = "", alias: str = PRODUCTION) -> dict[str, str]:
    response = client.put(alias, json={"model_id": model, "note": note})
    assert response.status_code == 200, response.text
    return dict(response.json())


def moves(client: httpx.Client) -> list[tuple[str, str | None, str | None]]:
    items = client.get(f"{PRODUCTION}/history").json()["items"]
    return [(move["action"], move["from_id"], move["to_id"]) for move in items]


@engines
def test_from_the_first_promotion_to_the_end(served: Served, models: list[str]) -> None:
    operator = served.operator
    problem(operator.get(PRODUCTION), 404)
    first = promoted(operator, ONE, "the first one")
    assert (first["model_id"], first["promoted_by"], first["note"]) == (ONE, "the operator", "the first one")
    assert promoted(operator, ONE, "again") == first, "nothing has changed"
    promoted(operator, TWO, "better Dice")
    promoted(operator, THREE)
    assert served.viewer.get("/v1/models/@production").json()["id"] == THREE
    assert served.viewer.get("/v1/models/@production/files").json()["items"][0]["path"] == "model.safetensors"

    back = operator.post(f"{PRODUCTION}/rollback", json={"note": "misses small lesions"}).json()
    assert (back["model_id"], back["note"]) == (TWO, "misses small lesions")
    assert operator.post(f"{PRODUCTION}/rollback").json()["model_id"] == ONE
    assert "alone" in problem(operator.post(f"{PRODUCTION}/rollback"), 409)["detail"]
    promoted(operator, THREE)
    assert operator.post(f"{PRODUCTION}/rollback").json()["model_id"] == ONE, "the one that stood there before"
    assert moves(served.viewer) == [
        ("rolled_back", THREE, ONE), ("promoted", ONE, THREE), ("rolled_back", TWO, ONE),
        ("rolled_back", THREE, TWO), ("promoted", TWO, THREE), ("promoted", ONE, TWO), ("promoted", None, ONE),
    ]  # fmt: skip
    assert [a["name"] for a in served.viewer.get("/v1/aliases").json()["items"]] == ["production"]

    assert operator.delete(PRODUCTION).status_code == 204
    problem(operator.get(PRODUCTION), 404)
    assert "@production" in problem(served.viewer.get("/v1/models/@production"), 404)["detail"]
    assert moves(served.viewer)[0] == ("removed", ONE, None)
    promoted(operator, TWO)
    problem(operator.post(f"{PRODUCTION}/rollback"), 409)
    audited = served.admin.get("/v1/audit", params={"route": "/v1/aliases/{alias}"}).json()["items"]
    assert {entry["method"] for entry in audited} == {"PUT", "DELETE"}


def test_history_comes_in_pages(served: Served, models: list[str]) -> None:
    for number in range(5):
        promoted(served.operator, (ONE, TWO)[number % 2])
    found, cursor = [], None
    while True:
        asked = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        document = served.viewer.get(f"{PRODUCTION}/history", params=asked).json()
        found += [move["to_id"] for move in document["items"]]
        cursor = document["next"]
        if cursor is None:
            break
    assert found == [ONE, TWO, ONE, TWO, ONE]


def test_what_is_wrong_is_named(served: Served, models: list[str]) -> None:
    operator = served.operator
    put = operator.put(PRODUCTION, json={"model_id": "mdl_99999999"})
    assert pointers(problem(put, 422)) == ["/model_id"]
    assert pointers(problem(operator.put(PRODUCTION, json={"model_id": "@candidate"}), 422)) == ["/model_id"]
    assert pointers(problem(operator.put("/v1/aliases/Prod!", json={"model_id": ONE}), 422)) == ["path:alias"]
    problem(served.viewer.put(PRODUCTION, json={"model_id": ONE}), 403)
    problem(served.viewer.get(f"{PRODUCTION}/history"), 404)
    promoted(operator, ONE, alias="/v1/aliases/candidate")
    assert promoted(operator, "@candidate")["model_id"] == ONE, "one alias may follow another"


@engines
def test_a_job_gets_the_model_of_the_moment_of_its_submission(served: Served, models: list[str]) -> None:
    dataset = prepared(served.database, "ds_00000001")
    promoted(served.operator, ONE)
    body = {"kind": "build_buffer", "spec": {"model": "@production", "dataset": dataset}}
    key = {"Idempotency-Key": "once"}
    job = served.operator.post("/v1/jobs", json=body, headers=key).json()
    assert job["spec"]["model"] == ONE
    promoted(served.operator, TWO)
    assert served.operator.post("/v1/jobs", json=body, headers=key).json()["id"] == job["id"], "it may be repeated"
    assert served.viewer.get(f"/v1/jobs/{job['id']}").json()["spec"]["model"] == ONE
    assert served.operator.post("/v1/jobs", json=body).json()["spec"]["model"] == TWO
    with served.database.reading() as session:
        inputs = set(session.scalars(select(JobInput.input_id).where(JobInput.job_id == job["id"])))
        events = [event.data for event in session.scalars(select(JobEvent).where(JobEvent.job_id == job["id"]))]
    assert inputs == {ONE, dataset}
    assert events == [{"aliases": {"@production": ONE}}], "what was asked for is on record"

    unknown = served.operator.post("/v1/jobs", json=body | {"spec": body["spec"] | {"model": "@none"}})  # type: ignore[operator]
    assert pointers(problem(unknown, 422)) == ["/spec/model"]
    wrong = served.operator.post("/v1/jobs", json=body | {"spec": {"model": "production", "dataset": dataset}})
    assert "alias like @production" in problem(wrong, 422)["detail"]


def test_aliases_are_a_projects_own(served: Served, south: httpx.Client, models: list[str]) -> None:
    promoted(served.operator, ONE)
    problem(south.get(PRODUCTION), 404)
    problem(south.delete(PRODUCTION), 404)
    problem(south.post(f"{PRODUCTION}/rollback"), 404)
    problem(south.get(f"{PRODUCTION}/history"), 404)
    problem(south.get("/v1/models/@production"), 404)
    assert south.get("/v1/aliases").json() == LIST
    assert pointers(problem(south.put(PRODUCTION, json={"model_id": ONE}), 422)) == ["/model_id"]
    project = south.get("/v1/me").json()["projects"][0]["id"]
    promoted(south, trained(served.database, None, "mdl_00000009", project_id=project))
    assert south.get("/v1/models/@production").json()["id"] == "mdl_00000009"
    assert served.operator.get("/v1/models/@production").json()["id"] == ONE
    several = problem(served.admin.get("/v1/models/@production"), 422)
    assert pointers(several) == ["query:project"]
    narrow = served.admin.get("/v1/models/@production", params={"project": "south"}).json()
    assert narrow["id"] == "mdl_00000009"


@engines
def test_two_promote_at_once(served: Served, models: list[str]) -> None:
    """One comes after the other: the history is a chain, from the first to the present one."""
    barrier, failures = threading.Barrier(3), []

    def promote(model: str) -> None:
        barrier.wait()
        try:
            with served.database.session() as session:
                aliases.promote(session, DEFAULT_PROJECT, "production", model, "ada")
        except BaseException as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=promote, args=(model,)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    chain = moves(served.viewer)[::-1]
    assert [before for _, before, _ in chain] == [None, *[after for _, _, after in chain[:-1]]]
    assert served.viewer.get(PRODUCTION).json()["model_id"] == chain[-1][2]


@engines
def test_history_is_append_only(database: Database) -> None:
    with database.session() as session:
        session.add(Promotion(project_id=DEFAULT_PROJECT, alias="a", action="promoted", to_id=ONE, actor="ada"))
    with pytest.raises(DBAPIError, match="append-only"), database.session() as session:
        session.execute(delete(Promotion))
    with database.reading() as session:
        assert session.scalars(select(Alias)).all() == []
        assert len(session.scalars(select(Promotion)).all()) == 1
