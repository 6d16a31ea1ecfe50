"""Indexes over REST: asked for, built, switched when their alias has moved and the next version is whole, deleted."""

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from medcoss.specs.records import FileEntry, IndexInfo
from services.core import jobs, leftovers, projects
from services.core.keys import Role, create_key
from services.core.scope import EVERYTHING
from services.core.sweep import sweep
from services.core.tables import DEFAULT_PROJECT, SearchIndex
from services.core.tables.base import now
from services.worker.outcome import Outcome, settle
from services.worker.protocol import ErrorReport, IndexOutput, ResultReport
from tests.api.calls import pointers, prepared, problem, take, trained
from tests.api.serving import Served
from tests.core.databases import engines

FILMS, REPORTS, CT = "ds_films0000", "ds_reports00", "ds_ct000000"
ONE, TWO, HEAD = "mdl_00000001", "mdl_00000002", "mdl_head0000"
ASKED: dict[str, Any] = {"name": "chest-search", "encoder": "@production", "datasets": [FILMS, REPORTS]}


@pytest.fixture
def data(served: Served) -> None:
    prepared(served.database, FILMS)
    prepared(served.database, REPORTS, modality="report", kind="text", sample_shape=[112])
    prepared(served.database, CT, modality="ct", kind="volume3d", sample_shape=[1, 16, 32, 32])
    for model in (ONE, TWO):
        trained(served.database, served.store, model, modalities=["xray", "report"])
    trained(served.database, served.store, HEAD, task="segmentation", classes=["liver"])
    assert served.operator.put("/v1/aliases/production", json={"model_id": ONE}).status_code == 200


@pytest.fixture
def south(served: Served) -> Iterator[httpx.Client]:
    """An operator of another project."""
    with served.database.session() as session:
        project = projects.create(session, "south").id
        _, secret = create_key(session, name="s", owner="bo", role=Role.OPERATOR, projects=[project], expires_at=None)
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        yield client


def asked(served: Served, **fields: Any) -> dict[str, Any]:
    answer = served.operator.post("/v1/indexes", json=ASKED | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def shown(served: Served) -> dict[str, Any]:
    return dict(served.viewer.get("/v1/indexes/chest-search").json())


def built(served: Served, version: str, name: str = "chest-search") -> None:
    """The newest build ends well, with a file."""
    index = served.viewer.get(f"/v1/indexes/{name}").json()
    claim = take(served.database, index["build"]["job_id"])
    prefix, content = f"indexes/{index['id']}/{version}", version.encode()
    served.store.put_bytes(f"{prefix}/vectors.faiss", content)
    info = IndexInfo(level="study", vectors=8, width=4, search="exact", datasets={FILMS: 4, REPORTS: 4},
                     modalities=["report", "xray"])  # fmt: skip
    output = IndexOutput(
        id=version, name="i", prefix=prefix, info=info, index_id=index["id"], model_id=claim.spec["model"],
        files=[FileEntry(path="vectors.faiss", size=len(content), sha256=hashlib.sha256(content).hexdigest())],
    )  # fmt: skip
    with served.database.session() as session:
        assert settle(session, claim, Outcome(result=ResultReport(outputs=[output]))) is not None


def swept(served: Served) -> None:
    with served.database.session() as session:
        sweep(session, now())


def stored(served: Served) -> list[str]:
    leftovers.clean(served.database, served.store, lambda _: None, 30)
    return [key.split("/")[2] for key in served.store.list_keys("indexes/")]


@engines
def test_from_the_request_to_the_switch_and_the_end(served: Served, data: None) -> None:
    made = asked(served, description="north site")
    assert (made["state"], made["version"], made["model_id"], made["vectors"]) == ("building", 0, None, None)
    job = served.viewer.get(f"/v1/jobs/{made['build']['job_id']}").json()
    assert job["kind"] == "build_index" and job["spec"]["model"] == ONE and job["spec"]["datasets"] == [FILMS, REPORTS]
    assert "chest-search" in problem(served.operator.post("/v1/indexes", json=ASKED), 409)["detail"]
    assert made["build"]["job_id"] in problem(served.operator.post("/v1/indexes/chest-search/rebuild"), 409)["detail"]
    built(served, "ixv_1")
    first = shown(served)
    assert (first["state"], first["version"], first["model_id"], first["vectors"]) == ("ready", 1, ONE, 8)
    assert first["per_dataset"] == {FILMS: 4, REPORTS: 4} and first["built_at"] is not None
    (file,) = served.viewer.get("/v1/indexes/chest-search/files").json()["items"]
    assert file["path"] == "ixv_1/vectors.faiss" and httpx.get(file["url"]).content == b"ixv_1"
    assert [i["id"] for i in served.viewer.get("/v1/indexes", params={"encoder": "@production"}).json()["items"]] == [
        made["id"]
    ]
    assert served.viewer.get("/v1/indexes", params={"model_id": TWO}).json()["items"] == []
    # what an index holds stays as long as it does
    assert "the index chest-search" in problem(served.operator.delete(f"/v1/datasets/{FILMS}"), 409)["detail"]

    # the alias moves: the old version answers until the new one is whole
    assert served.operator.put("/v1/aliases/production", json={"model_id": TWO}).status_code == 200
    swept(served)
    swept(served)
    updating = shown(served)
    assert (updating["state"], updating["version"], updating["model_id"]) == ("updating", 1, ONE)
    assert updating["build"]["model_id"] == TWO
    built(served, "ixv_2")
    second = shown(served)
    assert (second["state"], second["version"], second["model_id"]) == ("ready", 2, TWO)
    assert stored(served) == ["ixv_2"]
    assert served.operator.delete(f"/v1/models/{ONE}").status_code == 204, "nothing uses the first model any more"

    problem(served.viewer.delete("/v1/indexes/chest-search"), 403)
    assert served.operator.delete("/v1/indexes/chest-search").status_code == 204
    problem(served.viewer.get("/v1/indexes/chest-search"), 404)
    assert stored(served) == []
    assert served.operator.delete(f"/v1/datasets/{FILMS}").status_code == 204


def test_an_alias_that_goes_back_or_moves_on_leaves_no_stale_version(served: Served, data: None) -> None:
    asked(served)
    built(served, "ixv_1")
    served.operator.put("/v1/aliases/production", json={"model_id": TWO})
    swept(served)
    late = take(served.database, shown(served)["build"]["job_id"])
    served.operator.post("/v1/aliases/production/rollback")
    swept(served)
    back = shown(served)
    assert (back["state"], back["model_id"], back["build"]) == ("ready", ONE, None)
    assert served.viewer.get(f"/v1/jobs/{late.job_id}").json()["state"] == "running", "until it has heard of it"
    # a build that is not wanted any more publishes nothing
    served.store.put_bytes(f"indexes/{back['id']}/ixv_2/vectors.faiss", b"late")
    info = IndexInfo(level="study", vectors=1, width=4, search="exact", datasets={}, modalities=[])
    output = IndexOutput(id="ixv_2", name="i", prefix=f"indexes/{back['id']}/ixv_2", info=info, index_id=back["id"],
                         model_id=TWO)  # fmt: skip
    with served.database.session() as session:
        settle(session, late, Outcome(result=ResultReport(outputs=[output])))
    assert (shown(served)["version"], stored(served)) == (1, ["ixv_1"])

    # a model that cannot embed the datasets leaves the index as it is, and says why
    other = trained(served.database, served.store, "mdl_other000", modalities=["ct"])
    served.operator.put("/v1/aliases/production", json={"model_id": other})
    swept(served)
    stuck = shown(served)
    assert (stuck["state"], stuck["version"], stuck["model_id"]) == ("failed", 1, ONE)
    assert "has not learnt 'xray'" in stuck["trouble"] and other in stuck["trouble"]


def test_a_failed_build_is_told_and_made_again(served: Served, data: None) -> None:
    made = asked(served, encoder=ONE)
    claim = take(served.database, made["build"]["job_id"])
    error = ErrorReport(reason="data", detail="the feature of sample 3 is not finite", where="model")
    with served.database.session() as session:
        settle(session, claim, Outcome(error=error))
    failed = shown(served)
    assert failed["state"] == "failed" and "sample 3" in failed["build"]["error"]
    again = served.operator.post("/v1/indexes/chest-search/rebuild").json()
    assert again["state"] == "building" and again["build"]["job_id"] != made["build"]["job_id"]
    assert served.operator.delete("/v1/indexes/chest-search").status_code == 204
    with served.database.reading() as session:
        assert jobs.get(session, EVERYTHING, again["build"]["job_id"]).state == "cancelled"


WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "no such dataset": ({"datasets": [FILMS, "ds_none00000"]}, {"/datasets/1": "does not exist"}),
    "no such alias": ({"encoder": "@staging"}, {"/encoder": "does not exist"}),
    "a segmenter": ({"encoder": HEAD, "datasets": [FILMS]}, {"/encoder": "a segmentation model has no embedding"}),
    "not learnt": ({"datasets": [FILMS, CT]}, {"/datasets/1": "has not learnt 'ct'"}),
    "twice": ({"datasets": [FILMS, FILMS]}, {"/datasets/1": "given twice"}),
    "a bad name": ({"name": "Chest Search"}, {"/name": "small letters"}),
    "none at all": ({"datasets": []}, {"/datasets": "at least 1"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_built_is_refused_by_field(served: Served, data: None, case: str) -> None:
    fields, expected = WRONG[case]
    found = problem(served.operator.post("/v1/indexes", json=ASKED | fields), 422)
    assert pointers(found) == [*expected]
    assert all(words in str(found) for words in expected.values())
    assert served.viewer.get("/v1/indexes").json()["items"] == []


def test_other_projects_see_nothing_of_it(served: Served, data: None, south: httpx.Client) -> None:
    made = asked(served)
    for call in (south.get, south.delete):
        problem(call("/v1/indexes/chest-search"), 404)
    problem(south.get("/v1/indexes/chest-search/files"), 404)
    problem(south.post("/v1/indexes/chest-search/rebuild"), 404)
    assert south.get("/v1/indexes").json()["items"] == []
    refused = problem(south.post("/v1/indexes", json=ASKED | {"encoder": ONE}), 422)
    assert {"/encoder", "/datasets/0"} <= {*pointers(refused)}
    with served.database.session() as session:
        other = projects.create(session, "other").id
        session.add(
            SearchIndex(
                id="idx_other", name="chest-search", encoder=ONE, datasets=[], options={"level": "study"},
                wanted_id=ONE, created_by="bo", project_id=other,
            )
        )  # fmt: skip
    assert pointers(problem(served.admin.get("/v1/indexes/chest-search"), 422)) == ["query:project"]
    mine = served.admin.get("/v1/indexes/chest-search", params={"project": DEFAULT_PROJECT}).json()
    assert mine["id"] == made["id"]


def test_the_same_request_is_carried_out_once(served: Served, data: None) -> None:
    key = {"Idempotency-Key": "index-1"}
    first, second = (served.operator.post("/v1/indexes", json=ASKED, headers=key) for _ in range(2))
    assert first.status_code == second.status_code == 201 and first.json()["id"] == second.json()["id"]
    seen = served.viewer.get("/v1/indexes/chest-search")
    known = {"If-None-Match": seen.headers["etag"]}
    assert served.viewer.get("/v1/indexes/chest-search", headers=known).status_code == 304
