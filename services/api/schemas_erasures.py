"""What the API takes and tells of erasures."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.api.schemas import Body
from services.api.schemas_lineage import HoldersQuery

_DATA, _BUFFER, _MODEL = "ds_0199c2b4a11b2c3d4e5f6", "ds_0199c2c0d22c3d4e5f607", "mdl_0199c2bf733d4e5f60718"
ERASURE: dict[str, Any] = {
    "id": "ers_0199c2e0d2270a1b2c3d4", "project_id": "prj_default", "reason": "withdrew consent on 2026-03-01",
    "patient_key": "5d41402abc4b2a76b9719d911017c592", "sha256": None,
    "datasets": {_DATA: ["train"], _BUFFER: ["train"]}, "models": [_MODEL],
    "deployments": ["dep_0199c2d2277071829304b"], "unknown": [], "left": {}, "pipeline_id": "pip_0199c2b55661b2c3d4e5f",
    "created_by": "ada", "created_at": "2026-03-02T08:30:00Z",
}  # fmt: skip


class RebuildRequest(Body):
    """How what is marked is made anew."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"redeploy": False}})

    redeploy: bool = Field(
        False, description="export what is served, too: new versions, which answer as the old ones do"
    )


class ErasureRequest(HoldersQuery):
    """Whose data have to be erased, and why: a patient, or a file. One of them; it stays out of URLs and logs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"patient": "0001234", "reason": "withdrew consent on 2026-03-01"}},
    )

    reason: str = Field(min_length=1, max_length=1000, description="why, for the record; no names of patients")
    rebuild: RebuildRequest | None = Field(
        None, description="make what is marked anew at once, as a pipeline; null: it is marked, and that is all"
    )


class ErasureOut(BaseModel):
    """An erasure, what it has marked, and the pipeline that makes that anew."""

    model_config = ConfigDict(json_schema_extra={"example": ERASURE})

    id: str = Field(description="identifier, ers_...")
    project_id: str = Field(description="project whose data are erased, prj_...")
    reason: str = Field(description="why")
    patient_key: str | None = Field(None, description="keyed hash of the patient; null where it is a file's")
    sha256: str | None = Field(None, description="SHA-256 of the raw file; null where it is a patient's")
    datasets: dict[str, list[str]] = Field(
        description="datasets and buffers that hold the data, and in which splits; of a file: raw, or made from it"
    )
    models: list[str] = Field(description="models that were trained on them, mdl_...")
    deployments: list[str] = Field(description="served versions of these models, dep_...")
    unknown: list[str] = Field(description="datasets without a list of patients: of these nobody can say")
    left: dict[str, str] = Field(description="what is marked and cannot be made anew by itself, and why")
    pipeline_id: str | None = Field(
        None, description="pipeline that makes it anew, pip_...; null before that was asked for"
    )
    created_by: str = Field(description="owner of the key that asked for it")
    created_at: datetime = Field(description="when it was asked for")
