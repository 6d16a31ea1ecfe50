"""The gate of an alias: a forgetting report within bounds, or a reason that is kept."""

from typing import Any

import httpx
import pytest

from medcoss.specs.forgetting_records import ForgettingInfo, Kept, Measured, StageTold
from medcoss.specs.records import EvaluationInfo
from services.core import evaluations
from services.core.tables import DEFAULT_PROJECT, Model
from tests.api.calls import prepared, problem, trained
from tests.api.serving import Served

FIRST, SECOND, HEAD = "mdl_00000001", "mdl_00000002", "mdl_00000003"
REPORTS, XRAYS = "ds_00000001", "ds_00000002"
PRODUCTION = "/v1/aliases/production"


@pytest.fixture
def line(served: Served) -> None:
    """An encoder of reports, one that has learnt X-rays besides, and a classifier on that."""
    prepared(served.database, REPORTS, modality="report", kind="text", sample_shape=[112])
    prepared(served.database, XRAYS)
    trained(served.database, served.store, FIRST, modalities=["report"], modality="report")
    trained(served.database, served.store, SECOND, modalities=["report", "xray"], stage=2)
    trained(served.database, served.store, HEAD, modalities=["report", "xray"], stage=2, task="classification",
            classes=["a", "b"])  # fmt: skip
    with served.database.session() as session:
        session.get_one(Model, SECOND).parents = [FIRST]
        session.get_one(Model, HEAD).parents = [SECOND]


def reported(served: Served, lost: float | None, accuracy: float = 0.0, name: str = "evl_00000001",
             job: str = "job_x", second: float | None = None) -> str:  # fmt: skip
    """A forgetting report of the second stage, which has lost so much of the reports, and of those of a second hospital
    if there is one.
    """
    stages = [StageTold(model=FIRST, stage=1, learnt=["report"]), StageTold(model=SECOND, stage=2, learnt=["xray"])]
    kept = [Kept(modality="report", learnt_at=0, forgetting=lost, accuracy_forgetting=accuracy)]
    kept += [] if second is None else [Kept(modality="report-2", learnt_at=0, forgetting=second)]
    found = ForgettingInfo(
        stages=stages, datasets={"report": REPORTS, "xray": XRAYS}, samples={"report": 4, "xray": 4},
        table=[Measured(stage=0, modality="report", loss=1.0), Measured(stage=1, modality="report", loss=1.0),
               Measured(stage=1, modality="xray", loss=1.0)],
        kept=kept, average_forgetting=lost, backward_transfer=None if lost is None else -lost, probe="linear",
    )  # fmt: skip
    info = EvaluationInfo(schema_version=2, metrics={"backward_transfer": -(lost or 0)}, classes=[], forgetting=found)
    with served.database.session() as session:
        evaluations.register(session, name, name="report", info=info, model_id=SECOND, dataset_id=REPORTS, split="val",
                             files=[], job_id=job, project_id=DEFAULT_PROJECT)  # fmt: skip
    return name


def put(client: httpx.Client, model: str, **more: Any) -> httpx.Response:
    return client.put(PRODUCTION, json={"model_id": model} | more)


def test_an_alias_moves_only_within_the_bounds_of_its_gate(served: Served, line: None) -> None:
    operator = served.operator
    assert put(operator, FIRST).json()["gate"] is None
    bounds = {"average": 0.1, "modalities": {"report": 0.05}}
    gate = operator.put(f"{PRODUCTION}/gate", json=bounds).json()["gate"]
    assert gate == {"average": 0.1, "each": None, "modalities": {"report": 0.05}, "accuracy": None}
    refused = problem(put(operator, SECOND), 409)
    assert f"there is no forgetting report of {SECOND}; run a forgetting job" in refused["detail"]

    reported(served, 0.2)
    refused = problem(put(operator, SECOND), 409)
    assert [entry["detail"] for entry in refused["errors"]] == [
        "the average forgetting is 0.2, at most 0.1 is allowed",
        "the forgetting of 'report' is 0.2, at most 0.05 is allowed",
    ]
    check = served.viewer.get(f"{PRODUCTION}/gate/check", params={"model_id": SECOND}).json()
    assert (check["passes"], check["report_id"], len(check["refusals"])) == (False, "evl_00000001", 2)
    assert operator.get(PRODUCTION).json()["model_id"] == FIRST

    # a newer report decides; every hospital's reports have the bound of reports
    reported(served, 0.02, name="evl_00000002", second=0.07)
    refused = problem(put(operator, SECOND), 409)
    assert refused["errors"][0]["detail"] == "the forgetting of 'report-2' is 0.07, at most 0.05 is allowed"
    reported(served, 0.02, name="evl_00000002x", second=0.03)
    assert put(operator, SECOND).json()["model_id"] == SECOND
    newest = operator.get(f"{PRODUCTION}/history").json()["items"][0]
    assert (newest["report_id"], newest["override"]) == ("evl_00000002x", None)
    # back is always open: the model was in production before
    assert operator.post(f"{PRODUCTION}/rollback").json()["model_id"] == FIRST
    # a classifier is judged by its encoder
    assert put(operator, HEAD).json()["model_id"] == HEAD


def test_an_override_needs_a_reason_which_is_kept(served: Served, line: None) -> None:
    operator = served.operator
    put(operator, FIRST)
    operator.put(f"{PRODUCTION}/gate", json={"each": 0.1, "accuracy": 0.01})
    reported(served, 0.02, accuracy=0.05)
    refused = problem(put(operator, SECOND), 409)
    assert "the loss of accuracy on 'report' is 0.05, at most 0.01 is allowed" in refused["detail"]
    problem(put(operator, SECOND, override=""), 422)
    assert put(operator, SECOND, override="reports are not served").json()["model_id"] == SECOND
    moved = operator.get(f"{PRODUCTION}/history").json()["items"][0]
    assert (moved["override"], moved["report_id"]) == ("reports are not served", "evl_00000001")
    done = served.admin.get("/v1/audit", params={"route": "/v1/aliases/{alias}", "outcome": "done"}).json()["items"]
    assert done[0]["detail"] == f"the gate of @production was overridden for {SECOND}: reports are not served"
    assert operator.delete(f"{PRODUCTION}/gate").status_code == 204
    assert put(operator, FIRST).json()["gate"] is None


def test_a_report_that_does_not_say_it_does_not_open_a_gate(served: Served, line: None) -> None:
    operator = served.operator
    put(operator, FIRST)
    operator.put(f"{PRODUCTION}/gate", json={"each": 0.1})
    reported(served, None)
    assert "has no loss of 'report'" in problem(put(operator, SECOND), 409)["detail"]
    problem(served.viewer.put(f"{PRODUCTION}/gate", json={}), 403)
    problem(operator.put("/v1/aliases/nobody/gate", json={}), 404)
    problem(operator.put(f"{PRODUCTION}/gate", json={"each": -1}), 422)


def test_forgetting_reports_are_evaluations(served: Served, line: None) -> None:
    reported(served, 0.2)
    prepared(served.database, "ds_00000009")
    listed = served.viewer.get("/v1/evaluations", params={"task": "forgetting", "model": SECOND}).json()["items"]
    assert [(one["headline"], one["score"]) for one in listed] == [("backward_transfer", -0.2)]
    shown = served.viewer.get("/v1/evaluations/evl_00000001").json()
    assert shown["forgetting"]["kept"][0]["forgetting"] == 0.2
    reported(served, 0.1, name="evl_00000002")
    asked = {"id": ["evl_00000001", "evl_00000002"]}
    (metric,) = served.viewer.get("/v1/evaluations:compare", params=asked).json()["metrics"]
    assert metric["values"][1]["difference"] == pytest.approx(0.1)
