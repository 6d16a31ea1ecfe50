"""Deletion: what is in use is refused by name; what is deleted disappears at once and its objects soon."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from services.core import attempts, leftovers
from services.core.registry import register_deployment
from services.core.tables import (
    DEFAULT_PROJECT,
    IdempotencyKey,
    Job,
    JobArtifact,
    JobDependency,
    JobEvent,
    JobInput,
    JobLog,
    JobMetric,
    Leftover,
    Lineage,
)
from services.core.tables.base import now
from tests.api.calls import LIST, prepared, preprocess, problem, take, trained, uploaded
from tests.api.serving import Served
from tests.api.test_api_registry import deployment_info
from tests.core.databases import engines

MODEL = "mdl_00000001"
REPORTED = (JobEvent, JobMetric, JobLog, JobArtifact, JobInput, JobDependency, IdempotencyKey)


def swept(served: Served, unloaded: list[str] | None = None) -> None:
    """Remove what is marked for removal."""
    leftovers.clean(served.database, served.store, (unloaded if unloaded is not None else []).append, 30)


def choose_buffer(served: Served, model: str, dataset: str) -> str:
    body = {"kind": "build_buffer", "spec": {"model": model, "dataset": dataset}}
    response = served.operator.post("/v1/jobs", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def succeeded(served: Served, job: str) -> None:
    claim = take(served.database, job)
    with served.database.session() as session:
        attempts.succeed(session, job, claim.fence, {})


@pytest.fixture
def model(served: Served) -> str:
    return trained(served.database, served.store, MODEL)


@engines
def test_an_unused_model_disappears_with_its_files(served: Served, model: str) -> None:
    other = trained(served.database, served.store, "mdl_00000002")
    problem(served.viewer.delete(f"/v1/models/{model}"), 403)
    assert served.operator.delete(f"/v1/models/{model}").status_code == 204
    problem(served.viewer.get(f"/v1/models/{model}"), 404)
    problem(served.operator.delete(f"/v1/models/{model}"), 404)
    assert [m["id"] for m in served.viewer.get("/v1/models").json()["items"]] == [other]
    swept(served)
    assert served.store.list_keys("models/") == [f"models/{other}/model.safetensors"]


@engines
def test_a_model_in_use_is_not_deleted(served: Served, model: str) -> None:
    """Jobs that have not ended, what is served, aliases and descendants keep it, each named."""
    dataset = prepared(served.database, "ds_00000001")
    path = f"/v1/models/{model}"

    def refused() -> str:
        return str(problem(served.operator.delete(path), 409)["detail"])

    job = choose_buffer(served, model, dataset)
    assert f"job {job} (queued)" in refused()
    served.operator.post(f"/v1/jobs/{job}/pause")
    assert f"job {job} (paused)" in refused()
    served.operator.post(f"/v1/jobs/{job}/cancel")

    served.operator.put("/v1/aliases/production", json={"model_id": model})
    by_alias = problem(served.operator.delete("/v1/models/@production"), 422)
    assert "by its id" in by_alias["detail"] and "DELETE /v1/aliases/production" in by_alias["detail"]
    with served.database.session() as session:
        register_deployment(
            session, "dep_1", info=deployment_info("chest", 1), model_id=model, job_id="job_1",
            project_id=DEFAULT_PROJECT,
        )  # fmt: skip
    body = {"kind": "pretrain", "spec": {"dataset": dataset, "init_model": model}}
    training = served.operator.post("/v1/jobs", json=body).json()["id"]
    succeeded(served, training)
    child = trained(served.database, None, "mdl_00000002", training)
    detail = refused()
    assert "served as dep_1" in detail
    assert "the alias @production" in detail
    assert f"model made from it: {child}" in detail

    assert served.operator.delete(f"/v1/jobs/{training}").status_code == 204
    served.operator.delete("/v1/aliases/production")
    assert served.operator.delete("/v1/deployments/dep_1").status_code == 204
    assert refused().count(";") == 1, "only the child is left, also without the job that made it"
    assert served.operator.delete(f"/v1/models/{child}").status_code == 204
    assert served.operator.delete(path).status_code == 204
    with served.database.reading() as session:
        assert session.scalars(select(Lineage)).all() == []


def test_a_served_version_leaves_triton(served: Served, model: str) -> None:
    for number in (1, 2):
        served.store.put_bytes(f"triton/chest.{number}/1/model.onnx", b"x")
        with served.database.session() as session:
            register_deployment(
                session, f"dep_{number}", info=deployment_info("chest", number), model_id=model, job_id="job_1",
                project_id=DEFAULT_PROJECT,
            )  # fmt: skip
    assert served.operator.delete("/v1/deployments/dep_2").status_code == 204
    assert [d["id"] for d in served.viewer.get("/v1/deployments").json()["items"]] == ["dep_1"]
    problem(served.operator.delete("/v1/deployments/dep_2"), 404)
    unloaded: list[str] = []
    swept(served, unloaded)
    assert unloaded == ["chest.2"]
    assert served.store.list_keys("triton/") == ["triton/chest.1/1/model.onnx"]


def reported(served: Served) -> dict[str, Any]:
    with served.database.reading() as session:
        return {t.__name__: session.scalar(select(func.count()).select_from(t)) for t in (Job, *REPORTED)}


@engines
def test_a_job_goes_with_all_that_it_reported_but_not_what_it_made(served: Served) -> None:
    raw = uploaded(served.operator, {"a.png": b"x"})
    job = preprocess(served.operator, raw, headers={"Idempotency-Key": "k"}).json()["id"]
    dependant = preprocess(served.operator, raw, depends_on=[job]).json()["id"]
    claim = take(served.database, job)
    artifact = attempts.Artifact("report.json", f"jobs/{job}/artifacts/000001/report.json", "application/json", 2)
    for key in (artifact.key, f"jobs/{job}/checkpoints/000000005.000001/manifest.json"):
        served.store.put_bytes(key, b"{}")
    path = f"/v1/jobs/{job}"
    assert "cancel it first" in problem(served.operator.delete(path), 409)["detail"]
    with served.database.session() as session:
        attempts.record_rows(
            session, job, claim.fence, metrics=[(1, {"loss": 1.0})], logs=[("info", "x")], artifacts=[artifact]
        )
        attempts.succeed(session, job, claim.fence, {})
    made = prepared(served.database, "ds_00000001", job)
    assert f"needed by {dependant}" in problem(served.operator.delete(path), 409)["detail"]
    served.operator.post(f"/v1/jobs/{dependant}/cancel")
    assert all(reported(served).values())

    assert served.operator.delete(path).status_code == 204
    problem(served.viewer.get(path), 404)
    problem(served.viewer.get(f"{path}/logs"), 404)
    left = reported(served)
    assert (left["Job"], left["JobInput"]) == (1, 1), "those of the other job"
    assert [left[t.__name__] for t in (JobMetric, JobLog, JobArtifact, JobDependency)] == [0] * 4
    assert left["IdempotencyKey"] == 1, "until it expires: its request, repeated, makes no second job"
    assert served.viewer.get(f"/v1/datasets/{made}").json()["job_id"] == job
    assert made in problem(served.operator.delete(f"/v1/datasets/{raw}"), 409)["detail"], (
        "it came from there all the same"
    )
    swept(served)
    assert served.store.list_keys("jobs/") == []


def test_what_a_lost_attempt_stores_after_its_job_was_deleted_is_removed(served: Served) -> None:
    raw = uploaded(served.operator, {"a.png": b"x"})
    job = preprocess(served.operator, raw).json()["id"]
    served.operator.post(f"/v1/jobs/{job}/cancel")
    assert served.operator.delete(f"/v1/jobs/{job}").status_code == 204
    swept(served)
    served.store.put_bytes(f"jobs/{job}/artifacts/000001/late.json", b"{}")
    with served.database.session() as session:
        for row in session.scalars(select(Leftover)):
            row.remove_at = row.watch_until = now() - timedelta(seconds=1)
    swept(served)
    assert served.store.list_keys("jobs/") == []
    with served.database.reading() as session:
        assert session.scalars(select(Leftover)).all() == []
    assert served.viewer.get("/v1/jobs").json() == LIST
