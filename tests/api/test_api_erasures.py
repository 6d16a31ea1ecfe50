"""Erasures over HTTP: what holds the data is marked, is not put to use, and is made anew without them."""

import gzip
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from medcoss.specs.records import PATIENTS
from services.core import holders
from services.core.tables import DEFAULT_PROJECT, Dataset, DatasetFile, Job
from tests.api.calls import problem
from tests.api.pipelining import shown
from tests.api.serving import Served
from tests.api.test_api_gates import reported
from tests.api.test_api_lineage import FILES, line, made  # noqa: F401 - a fixture

MODELS = ["mdl_00000001", "mdl_00000002", "mdl_00000003"]


@pytest.fixture
def key(served: Served, line: str) -> str:  # noqa: F811 - the fixture above
    """A patient who is in the dataset of the line, and was not chosen for its buffer."""
    with served.database.reading() as session:
        found = holders.key_of(session, DEFAULT_PROJECT, "own", "0001234")
    for dataset_id, patients in {"ds_00000001": [found, "1" * 32], "ds_00000002": ["1" * 32]}.items():
        content = gzip.compress(json.dumps({"train": patients}).encode())
        served.store.put_bytes(f"datasets/{dataset_id}/shards/{PATIENTS}", content)
        with served.database.session() as session:
            session.add(DatasetFile(dataset_id=dataset_id, path=PATIENTS, size=len(content), sha256="0" * 64))
    return found


def test_what_holds_a_patient_is_marked_and_made_anew_without_him(served: Served, key: str) -> None:
    made = served.operator.post("/v1/erasures", json={"patient": "0001234", "reason": "withdrew", "rebuild": {}})
    assert made.status_code == 201, made.text
    erasure = made.json()
    assert (erasure["patient_key"], erasure["datasets"]) == (key, {"ds_00000001": ["train"]})
    assert (erasure["models"], erasure["left"]) == (MODELS, {})
    steps = shown(served, {"id": erasure["pipeline_id"]})
    assert steps.keys() - {"whole"} == {"ds_00000001", *MODELS}
    with served.database.reading() as session:
        spec = {name: session.get_one(Job, steps[name]["job_id"]).spec for name in ("ds_00000001", *MODELS)}
    assert spec["ds_00000001"]["without_patients"] == [key]
    asked = served.viewer.get(f"/v1/pipelines/{erasure['pipeline_id']}").json()["steps"]
    given = {step["name"]: step["spec"] for step in asked}
    assert given["mdl_00000001"]["dataset"] == {"from": "ds_00000001.dataset"}
    assert given["mdl_00000002"]["init_model"] == {"from": "mdl_00000001.model"}
    # what does not hold him is rehearsed as before
    assert given["mdl_00000002"]["rehearsal"] == ["ds_00000002"]
    assert (given["mdl_00000002"]["distill_weight"], given["mdl_00000003"]["rehearsal"]) == (2, [])
    rebuild, pipeline = f"/v1/erasures/{erasure['id']}/rebuild", f"/v1/pipelines/{erasure['pipeline_id']}"
    problem(served.operator.post(rebuild, json={}), 409)
    # a pipeline that nobody can look at any more makes nothing; of several requests at once, one makes another
    assert served.operator.post(f"{pipeline}/cancel").is_success and served.operator.delete(pipeline).is_success
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: served.operator.post(rebuild, json={}), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(served.viewer.get("/v1/pipelines").json()["items"]) == 1


def test_what_gates_ask_of_a_model_is_measured_anew(served: Served, key: str) -> None:
    with served.database.session() as session:
        row = session.get_one(Dataset, "ds_00000001")
        row.info = (row.info or {}) | {"splits": {"train": 30, "val": 10}}
    measured = {"models": MODELS[:2], "datasets": ["ds_00000001"]}
    reported(served, 0.02, job=made(served, "forgetting", measured))
    reported(served, 0.01, name="evl_00000002", job=made(served, "forgetting", measured | {"masks": 4}))
    asked = {"key": key, "reason": "withdrew", "rebuild": {}}
    erasure = served.operator.post("/v1/erasures", json=asked).json()
    steps = served.viewer.get(f"/v1/pipelines/{erasure['pipeline_id']}").json()["steps"]
    (step,) = [step for step in steps if step["kind"] == "forgetting"]
    assert (step["name"], step["spec"]["masks"]) == ("evl_00000002", 4), "the newest one"
    assert step["spec"]["models"] == [{"from": f"{name}.model"} for name in MODELS[:2]]
    assert step["spec"]["datasets"] == [{"from": "ds_00000001.dataset"}]
    # its job has been deleted
    reported(served, 0.01, name="evl_00000003")
    again = served.operator.post("/v1/erasures", json=asked).json()
    assert again["left"] == {
        "evl_00000003": "the job that measured it has been deleted: measure by hand what is made anew"
    }
    assert again["pipeline_id"] not in (None, erasure["pipeline_id"])


def test_what_is_marked_is_not_put_to_use_by_chance(served: Served, key: str) -> None:
    erasure = served.operator.post("/v1/erasures", json={"key": key, "reason": "withdrew"}).json()
    assert erasure["pipeline_id"] is None
    to = {"model_id": "mdl_00000002"}
    refusal = problem(served.operator.put("/v1/aliases/production", json=to), 409)
    assert erasure["id"] in refusal["detail"] and "override" in refusal["detail"]
    assert served.operator.put("/v1/aliases/production", json=to | {"override": "until it is rebuilt"}).is_success
    nodes = served.viewer.get("/v1/models/mdl_00000002/lineage").json()["nodes"]
    marked = {node["id"] for node in nodes if node["erasures"] == [erasure["id"]]}
    assert marked == {"ds_00000001", "mdl_00000001", "mdl_00000002"}
    card = served.viewer.get("/v1/models/mdl_00000002/card").json()
    assert card["card"]["erasures"] == [erasure["id"]] and erasure["id"] in card["markdown"]
    listed = served.viewer.get("/v1/erasures", params={"object": "mdl_00000003"}).json()["items"]
    assert [one["id"] for one in listed] == [erasure["id"]]
    assert served.viewer.get("/v1/erasures", params={"object": "ds_00000002"}).json()["items"] == []


def test_a_file_is_left_out_by_its_path(served: Served, line: str) -> None:  # noqa: F811 - the fixture above
    sha256 = hashlib.sha256(FILES["a.png"]).hexdigest()
    erasure = served.operator.post("/v1/erasures", json={"sha256": sha256, "reason": "wrong film"}).json()
    assert erasure["datasets"][line] == ["raw"] and erasure["models"] == MODELS
    made = served.operator.post(f"/v1/erasures/{erasure['id']}/rebuild", json={}).json()
    steps = served.viewer.get(f"/v1/pipelines/{made['pipeline_id']}").json()["steps"]
    given = {step["name"]: step["spec"] for step in steps}
    assert given.keys() == {"ds_00000001", "ds_00000002", *MODELS}
    assert given["ds_00000001"]["without_files"] == ["a.png"]
    assert given["mdl_00000002"]["rehearsal"] == [{"from": "ds_00000002.dataset"}]
    # nobody holds this one
    nowhere = {"sha256": "0" * 64, "reason": "wrong film", "rebuild": {}}
    empty = served.operator.post("/v1/erasures", json=nowhere).json()
    assert (empty["models"], empty["pipeline_id"]) == ([], None)
    problem(served.operator.post(f"/v1/erasures/{empty['id']}/rebuild", json={}), 409)
    problem(served.viewer.post("/v1/erasures", json={"sha256": sha256, "reason": "x"}), 403)
    problem(served.operator.post("/v1/erasures", json={"reason": "x"}), 422)
