"""Curricula: expanded to pipelines, on new encoders and on old ones."""

from typing import Any

import pytest

from services.core.tables import Dataset
from tests.api.calls import pointers, prepared, problem
from tests.api.pipelining import ABOUT, DATA, OTHER, TRAINING, Body, done, shown, stage, with_two_datasets
from tests.api.serving import Served


@pytest.fixture
def data(served: Served) -> Served:
    """A control plane with two prepared datasets."""
    return with_two_datasets(served)


def curriculum(**fields: Any) -> Body:
    stages = [{"modality": "xray", "dataset": DATA}, {"modality": "pathology", "dataset": OTHER}]
    return {"curriculum": {"stages": stages, "training": TRAINING} | fields}


def test_a_curriculum_is_expanded_to_stages_with_the_buffers_before_them(data: Served) -> None:
    answer = data.operator.post("/v1/pipelines", json=curriculum())
    assert answer.status_code == 201, answer.text
    made = answer.json()
    steps = {step["name"]: step for step in made["steps"]}
    assert list(steps) == ["xray", "xray-buffer", "pathology"]
    assert (steps["pathology"]["spec"]["rehearsal"], made["curriculum"]["training"]["size"]) == (
        [{"from": "xray-buffer.dataset"}], "tiny",
    )  # fmt: skip
    waits = str(steps["pathology"]["reason"]).removeprefix("waits for ").split(", ")
    assert sorted(waits) == ["xray", "xray-buffer"], "steps are told by their names"
    shown_ = data.operator.post("/v1/pipelines:expand", json=curriculum()).json()["steps"]
    assert {name: step["spec"] for name, step in shown_.items()} == {n: s["spec"] for n, s in steps.items()}
    none = data.operator.post("/v1/pipelines:expand", json=curriculum(rehearsal="none")).json()["steps"]
    assert list(none) == ["xray", "pathology"] and not none["pathology"]["spec"].get("rehearsal")
    measured = data.operator.post("/v1/pipelines:validate", json=curriculum(forgetting={"samples": 4})).json()
    assert measured["valid"], measured["errors"]
    assert [name for name in measured["steps"] if name.endswith("-forgetting")] == [
        "xray-forgetting", "pathology-forgetting",
    ]  # fmt: skip
    several = curriculum(stages=[{"modality": "xray", "dataset": "ds_00000000000000000009"},
                                 {"modality": "ct", "dataset": OTHER}])  # fmt: skip
    refusal = problem(data.operator.post("/v1/pipelines", json=several), 422)
    assert pointers(refusal) == ["/curriculum/stages/1/modality", "/steps/xray/spec/dataset"], "told at once"
    for wrong, where in (
        (curriculum(stages=[{"modality": "ct", "dataset": DATA}]), "/curriculum/stages/0/modality"),
        (curriculum(training={"epochs": 0}), "/curriculum/training/epochs"),
        (curriculum(preset="published"), "/curriculum"),
        (curriculum(init_model="@nobody"), "/curriculum/init_model"),
        (curriculum() | {"steps": {"a": stage(DATA)}}, ""),
        ({"name": "empty"}, ""),
    ):
        assert pointers(problem(data.operator.post("/v1/pipelines", json=wrong), 422)) == [where]


def test_an_old_encoder_learns_more_with_the_buffers_of_all_it_knows(data: Served) -> None:
    """The buffer of X-rays was made by the curriculum; that of pathology is made now, by the model that learnt it."""
    made = data.operator.post("/v1/pipelines", json=curriculum()).json()
    for name in ("xray", "xray-buffer", "pathology"):
        last = done(data, shown(data, made)[name]["job_id"])
    kept = shown(data, made)["xray-buffer"]["outputs"]["dataset"]
    more = "ds_00000000000000000003"
    prepared(data.database, more, **ABOUT)
    body = curriculum(stages=[{"modality": "xray", "dataset": more, "name": "north"}], init_model=last)
    steps = data.operator.post("/v1/pipelines:expand", json=body).json()["steps"]
    assert list(steps) == ["earlier-pathology-buffer", "north"]
    chosen = steps["earlier-pathology-buffer"]["spec"]
    assert (chosen["model"], chosen["dataset"]) == (last, OTHER)
    assert steps["north"]["spec"]["rehearsal"] == [kept, {"from": "earlier-pathology-buffer.dataset"}]
    assert data.operator.post("/v1/pipelines", json=body).status_code == 201
    # the X-rays of the first hospital are measured, too, with and without rehearsal
    for how in ({}, {"rehearsal": "none"}, {"init_buffers": [kept]}):
        measured = body["curriculum"] | {"forgetting": {}} | how
        steps = data.operator.post("/v1/pipelines:expand", json={"curriculum": measured}).json()["steps"]
        spec = steps["north-forgetting"]["spec"]
        assert spec["datasets"] == [DATA, OTHER, more]
        assert spec["models"][1:] == [last, {"from": "north.model"}] and len(spec["models"]) == 3
    told = data.operator.post("/v1/pipelines:expand", json=curriculum(init_model=last, init_buffers=[kept])).json()
    assert told["steps"]["xray"]["spec"]["rehearsal"] == [kept]
    # what has been deleted cannot be measured; it is rehearsed by its buffer
    with data.database.session() as session:
        session.delete(session.get_one(Dataset, DATA))
    asked = {"curriculum": body["curriculum"] | {"forgetting": {}}}
    steps = data.operator.post("/v1/pipelines:expand", json=asked).json()["steps"]
    assert steps["north-forgetting"]["spec"]["datasets"] == [OTHER, more]
    assert kept in steps["north"]["spec"]["rehearsal"]
