"""Pipelines and what their steps make, as a worker would."""

from typing import Any

from sqlalchemy import func, select

from services.core import attempts
from services.core.ids import new_id
from services.core.sweep import sweep
from services.core.tables import Job, Model
from services.core.tables.base import now
from tests.api.calls import prepared, take, trained
from tests.api.serving import Served

Body = dict[str, Any]
DATA, OTHER = "ds_00000000000000000001", "ds_00000000000000000002"
TRAINING = {"size": "tiny", "epochs": 2, "batch_size": 2}
ABOUT = {"samples": 10, "splits": {"train": 8, "val": 2}}
EPOCH = {"kind": "pretrain", "spec": {"dataset": DATA} | TRAINING}


def stage(dataset: Any, **spec: Any) -> Body:
    return {"kind": "pretrain", "spec": {"dataset": dataset} | TRAINING | spec}


def three(**changed: Body) -> Body:
    """X-rays, a buffer of them, and pathology behind both."""
    return {
        "xray": stage(DATA),
        "buffer": {"kind": "build_buffer", "spec": {"model": {"from": "xray.model"}, "dataset": DATA}},
        "pathology": stage(OTHER, init_model={"from": "xray.model"}, rehearsal=[{"from": "buffer.dataset"}]),
    } | changed  # fmt: skip


def with_two_datasets(served: Served) -> Served:
    """X-rays and pathology, prepared."""
    prepared(served.database, DATA, **ABOUT)
    prepared(served.database, OTHER, modality="pathology", sample_shape=[3, 32, 32], **ABOUT)
    return served


def posted(served: Served, steps: Body, **fields: Any) -> Body:
    answer = served.operator.post("/v1/pipelines", json={"steps": steps} | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def shown(served: Served, pipeline: Body) -> dict[str, Body]:
    found = served.viewer.get(f"/v1/pipelines/{pipeline['id']}").json()
    return {"whole": found} | {step["name"]: step for step in found["steps"]}


def swept(served: Served) -> None:
    with served.database.session() as session:
        sweep(session, now())


def done(served: Served, job_id: str, **about: Any) -> str:
    """Do a job as a worker does; the id of what it has made."""
    claim = take(served.database, job_id)
    what, made = "model", new_id("mdl")
    if claim.kind == "pretrain":
        modality = "xray" if claim.spec["dataset"] == DATA else "pathology"
        modalities = ["xray"] if modality == "xray" else ["xray", "pathology"]
        trained(served.database, None, made, job_id, modality=modality, **{"modalities": modalities} | about)
        with served.database.session() as session:
            row = session.get_one(Model, made)
            row.dataset_id, init = claim.spec["dataset"], claim.spec["init_model"]
            row.parents = [init] if init else []
    else:
        what, made = "dataset", new_id("ds")
        prepared(served.database, made, job_id, **{"role": "buffer"} | about)
    with served.database.session() as session:
        assert attempts.succeed(session, job_id, claim.fence, {"outputs": {what: made}, "metrics": {}})
    swept(served)
    return made


def failed(served: Served, job_id: str, reason: str = "data", detail: str = "no") -> None:
    """Have an attempt fail, and the job with it when such failures are not tried again."""
    claim = take(served.database, job_id)
    with served.database.session() as session:
        attempts.fail(session, job_id, claim.fence, {"title": "Wrong", "detail": detail, "reason": reason, "type": "x"})
    swept(served)


def count(served: Served, table: type[Any] = Job) -> int:
    with served.database.reading() as session:
        return session.scalars(select(func.count()).select_from(table)).one()
