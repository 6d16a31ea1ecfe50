"""Short words for calls of the API and for rows that jobs would make."""

import hashlib
from typing import Any

import httpx

from medcoss.modalities import Kind
from medcoss.specs.records import DatasetInfo, FileEntry, ModelInfo
from services.core import attempts
from services.core.attempts import Claim
from services.core.db import Database
from services.core.registry import register_dataset, register_model
from services.core.scheduling import ANYTHING, runnable
from services.core.storage import ObjectStore
from services.core.tables import DEFAULT_PROJECT
from services.core.tables.base import now

LIST = {"items": [], "next": None}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, checked for its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = dict(response.json())
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["title"] and document["detail"]
    assert "Traceback" not in response.text and "/services/" not in response.text
    return document


def pointers(document: dict[str, Any]) -> list[str]:
    return [entry["pointer"] for entry in document["errors"]]


def entry(path: str, content: bytes = b"pixels") -> dict[str, Any]:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def announced(client: httpx.Client, files: dict[str, bytes], **fields: Any) -> dict[str, Any]:
    """The answer to the announcement of a dataset."""
    body = {"name": "chest", "modality": "xray", "files": [entry(p, c) for p, c in files.items()]} | fields
    response = client.post("/v1/datasets", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def uploaded(client: httpx.Client, files: dict[str, bytes], **fields: Any) -> str:
    """The id of a dataset whose files are all there."""
    created = announced(client, files, **fields)
    for upload in created["uploads"]:
        assert httpx.put(upload["url"], content=files[upload["path"]]).status_code == 200
    dataset_id = str(created["dataset"]["id"])
    assert client.post(f"/v1/datasets/{dataset_id}/complete").status_code == 200
    return dataset_id


def prepared(database: Database, dataset_id: str, job_id: str = "job_x", role: str = "prepared",
             project_id: str = DEFAULT_PROJECT, **about: Any) -> str:  # fmt: skip
    """A dataset as a job registers it; `about` are fields of its description."""
    usual: dict[str, Any] = {
        "role": role, "modality": "xray", "kind": Kind.IMAGE2D, "samples": 4, "splits": {"train": 4},
        "sample_shape": [1, 32, 32], "recipe": {"name": "image_folder"},
    }  # fmt: skip
    info = DatasetInfo(**usual | about)
    with database.session() as session:
        register_dataset(
            session, dataset_id, name="prepared", info=info, prefix=f"datasets/{dataset_id}/shards", files=[],
            parents=[], job_id=job_id, project_id=project_id,
        )  # fmt: skip
    return dataset_id


def model_info(**about: Any) -> ModelInfo:
    usual: dict[str, Any] = {
        "task": "encoder", "size": "tiny", "config": {}, "modalities": ["xray"], "stage": 1, "modality": "xray",
        "kind": Kind.IMAGE2D, "sample_shape": [1, 32, 32], "recipe": {}, "metrics": {"loss": 0.5},
    }  # fmt: skip
    return ModelInfo(**usual | about)


def trained(database: Database, store: ObjectStore | None, model_id: str, job_id: str = "job_x",
            project_id: str = DEFAULT_PROJECT, **about: Any) -> str:  # fmt: skip
    """A model as a job registers it, with a file in the store if there is one."""
    info = model_info(**about)
    content = b"weights"
    if store is not None:
        store.put_bytes(f"models/{model_id}/model.safetensors", content)
    files = [FileEntry(path="model.safetensors", size=7, sha256=hashlib.sha256(content).hexdigest())]
    with database.session() as session:
        register_model(
            session, model_id, name="encoder", info=info, prefix=f"models/{model_id}", files=files, parents=[],
            dataset_id=None, job_id=job_id, project_id=project_id,
        )  # fmt: skip
    return model_id


def preprocess(client: httpx.Client, dataset_id: str, headers: dict[str, str] | None = None,
               **fields: Any) -> httpx.Response:  # fmt: skip
    """Submit the simplest job."""
    body = {"kind": "preprocess", "spec": {"dataset": dataset_id, "recipe": {"name": "image_folder"}}} | fields
    return client.post("/v1/jobs", json=body, headers=headers)


def take(database: Database, job_id: str) -> Claim:
    """Claim a job as a worker does."""
    with database.session() as session:
        claim = attempts.claim(session, job_id, "worker", 30)
    assert claim is not None
    return claim


def next_up(database: Database) -> str | None:
    """The job that a worker would take next."""
    with database.reading() as session:
        statement, values = runnable(ANYTHING, now(), None)
        return session.scalars(statement.limit(1), values).first()
