"""Deployments over REST: from the request to the version that answers."""

from typing import Any

import httpx
import pytest

from services.core import deployments
from services.core.tables import DEFAULT_PROJECT, Deployment, Job
from tests.api.calls import problem, trained
from tests.api.serving import Served
from tests.api.test_api_registry import deployment_info
from tests.core.databases import engines
from tests.core.steps import swept

MODEL = "mdl_00000000"


@pytest.fixture
def model(served: Served) -> str:
    return trained(served.database, None, MODEL, recipe={"name": "image_folder"})


def created(served: Served, **fields: Any) -> httpx.Response:
    return served.operator.post("/v1/deployments", json={"model": MODEL, "name": "chest"} | fields)


def shown(served: Served, deployment_id: str) -> dict[str, Any]:
    return dict(served.viewer.get(f"/v1/deployments/{deployment_id}").json())


def exported(served: Served, deployment_id: str, *, activate: bool = True) -> dict[str, Any]:
    """What becomes of an export that has gone well."""
    with served.database.session() as session:
        row = session.get_one(Deployment, deployment_id)
        assert row.job_id is not None
        session.get_one(Job, row.job_id).fence += 1
        session.flush()
        made, version = deployments.attempted(session, row.job_id, 1)
        assert made == deployment_id
        deployments.publish(session, made, deployment_info("chest", version), activate=activate)
    return shown(served, deployment_id)


def test_a_model_is_deployed(served: Served, model: str) -> None:
    made = created(served, precision="fp16", tolerance=0.01)
    assert made.status_code == 201, made.text
    first = made.json()
    assert (first["state"], first["version"], first["active"]) == ("loading", None, False)
    assert (first["precision"], first["tolerance"], first["max_difference"]) == ("fp16", 0.01, None)
    job = served.viewer.get(f"/v1/jobs/{first['job_id']}").json()
    assert (job["kind"], job["state"], job["spec"]["precision"]) == ("export", "queued", "fp16")
    assert [d["id"] for d in served.viewer.get("/v1/deployments?state=loading").json()["items"]] == [first["id"]]

    ready = exported(served, first["id"])
    assert (ready["state"], ready["version"], ready["active"], ready["golden"]) == ("ready", 1, True, "random")
    beside = exported(served, created(served, activate=False).json()["id"], activate=False)
    assert (beside["version"], beside["active"]) == (2, False)
    assert shown(served, first["id"])["active"] is True


def test_an_export_job_makes_one_too(served: Served, model: str) -> None:
    body = {"kind": "export", "spec": {"model": model, "name": "chest"}}
    job = served.operator.post("/v1/jobs", json=body).json()["id"]
    (found,) = served.viewer.get("/v1/deployments", params={"job_id": job}).json()["items"]
    assert (found["name"], found["state"], found["model_id"]) == ("chest", "loading", model)


@engines
def test_an_export_that_ends_badly_leaves_the_version_that_answers(served: Served, model: str) -> None:
    good = exported(served, created(served).json()["id"])
    bad = created(served).json()
    with served.database.session() as session:
        job = session.get_one(Job, bad["job_id"])
        told = {"title": "The model cannot be served", "detail": "Triton cannot load the model", "reason": "serving"}
        job.state, job.error = "failed", told | {"log": ["a line"]}
    swept(served.database)
    failed = shown(served, bad["id"])
    assert (failed["state"], failed["active"]) == ("failed", False)
    assert failed["error"] == told
    assert shown(served, good["id"])["active"] is True
    problem(served.operator.post(f"/v1/deployments/{bad['id']}/activate"), 409)
    assert (
        "deploy the model again" in problem(served.operator.post(f"/v1/deployments/{bad['id']}/reload"), 409)["detail"]
    )
    cancelled = created(served).json()
    served.operator.post(f"/v1/jobs/{cancelled['job_id']}/cancel")
    swept(served.database)
    assert "was cancelled" in shown(served, cancelled["id"])["error"]["detail"]


@engines
def test_switching_and_going_back(served: Served, model: str) -> None:
    one, two, three = (exported(served, created(served).json()["id"])["id"] for _ in range(3))

    def call(deployment_id: str, what: str) -> Any:
        answer = served.operator.post(f"/v1/deployments/{deployment_id}/{what}")
        assert answer.status_code == 200, answer.text
        listed = served.viewer.get("/v1/deployments?name=chest").json()["items"]
        assert [d["id"] for d in listed if d["active"]] == [answer.json()["id"]]
        return answer.json()["id"]

    assert call(one, "activate") == one
    assert call(one, "rollback") == three
    assert call(three, "rollback") == two
    # who has clicked twice goes back once
    detail = problem(served.operator.post(f"/v1/deployments/{three}/rollback"), 409)["detail"]
    assert f"{two} (version 2) does" in detail
    only = problem(served.operator.post(f"/v1/deployments/{two}/rollback"), 409)
    assert "no other version has answered" in only["detail"]
    assert call(three, "activate") == three
    assert served.operator.delete(f"/v1/deployments/{three}").status_code == 204
    assert shown(served, two)["active"] is True
    problem(served.viewer.post(f"/v1/deployments/{two}/activate"), 403)


def test_deleting_one_that_loads_cancels_its_export(served: Served, model: str) -> None:
    made = created(served).json()
    assert served.operator.delete(f"/v1/deployments/{made['id']}").status_code == 204
    assert served.viewer.get(f"/v1/jobs/{made['job_id']}").json()["state"] == "cancelled"
    assert served.viewer.get("/v1/deployments").json()["items"] == []
    with served.database.session() as session:
        # an attempt that was past being stopped
        assert deployments.publish(session, made["id"], deployment_info("chest", 1), activate=True) is False


def test_what_is_wrong_is_named_in_the_request_s_own_fields(served: Served, model: str) -> None:
    missing = problem(created(served, model="mdl_99999999"), 422)
    assert [error["pointer"] for error in missing["errors"]] == ["/model"]
    wrong = problem(created(served, modality="ct"), 422)
    assert [error["pointer"] for error in wrong["errors"]] == ["/modality"]
    strange = problem(created(served, precision="int8"), 422)
    assert [error["pointer"] for error in strange["errors"]] == ["/precision"]
    assert served.viewer.get("/v1/deployments").json()["items"] == []


def test_a_request_is_carried_out_once(served: Served, model: str) -> None:
    body, headers = {"model": MODEL, "name": "chest"}, {"Idempotency-Key": "deploy-1"}
    first, again = (served.operator.post("/v1/deployments", json=body, headers=headers) for _ in range(2))
    assert (again.json()["id"], again.headers["idempotency-replayed"]) == (first.json()["id"], "true")
    with served.database.session() as session:
        other = session.get_one(Deployment, first.json()["id"])
        assert other.project_id == DEFAULT_PROJECT
