"""Deployments: what is asked for and what is shown."""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from medcoss.modalities import Kind
from medcoss.specs import ExportSpec
from services.api.schemas import ProjectRef
from services.core.tables import DEFAULT_PROJECT


class DeploymentRequest(ExportSpec):
    """A model to serve: the fields are those of an `export` job."""

    project: ProjectRef = None


class DeploymentOut(BaseModel):
    """A served version of a model."""

    id: str = Field(description="identifier, dep_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name under which the gateway serves it")
    version: int | None = Field(description="1, 2, ...; null until its export begins")
    state: str = Field(
        description="loading, ready once its answers have been compared with PyTorch's, or failed, see `error`"
    )
    active: bool = Field(description="whether it is the version that answers for its name; others are NAME@VERSION")
    error: dict[str, Any] | None = Field(description="why it has failed, with Triton's reason; null otherwise")
    task: str = Field(description="encoder, classification or segmentation")
    modality: str = Field(description="modality of its input")
    kind: Kind = Field(description="shape of a sample: text, image2d or volume3d")
    classes: list[str] | None = Field(
        description="names of the classes in the order of their numbers; null for an encoder"
    )
    precision: str = Field(description="numbers that it computes with: fp32 or fp16")
    accelerator: str = Field(description="none or tensorrt")
    model_id: str = Field(description="model that is served, mdl_...")
    golden: str | None = Field(
        description="what it was asked before it was ready: samples of a `dataset`, or `random` ones; null until then"
    )
    tolerance: float = Field(description="largest absolute difference to PyTorch's outputs that is allowed")
    max_difference: float | None = Field(
        description="largest absolute difference between the served and the PyTorch outputs; null until compared"
    )
    job_id: str | None = Field(description="job that exports it")
    created_at: datetime = Field(description="when it was recorded")
    ready_at: datetime | None = Field(description="when it first was ready")
    activated_at: datetime | None = Field(
        description="when it began to answer for its name; null when it was never to, or was taken back"
    )


_NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

EXAMPLES: tuple[BaseModel, ...] = (
    DeploymentOut(
        id="dep_0199c2d2277071829304b", project_id=DEFAULT_PROJECT, name="chest", version=2, state="ready", active=True,
        error=None, task="classification", modality="xray", kind=Kind.IMAGE2D, classes=["normal", "pneumonia"],
        precision="fp32", accelerator="none", model_id="mdl_0199c2d1c44e5f6071829", golden="dataset", tolerance=0.001,
        max_difference=0.00002, job_id="job_0199c2b44550a1b2c3d4e", created_at=_NOON, ready_at=_NOON,
        activated_at=_NOON,
    ),
)  # fmt: skip
ASKED: tuple[BaseModel, ...] = (DeploymentRequest(model="mdl_0199c2d1c44e5f6071829", name="chest", activate=False),)
