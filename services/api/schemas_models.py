"""What the API tells of models and their served versions."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from medcoss.modalities import Kind
from services.api.schemas import BYTES


class ModelOut(BaseModel):
    """A trained model."""

    id: str = Field(description="identifier, mdl_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name that its owner chose")
    notes: str = Field(description="for people")
    tags: list[str] = Field(description="what it is found by, in the order of the alphabet")
    task: str = Field(description="encoder, classification or segmentation")
    size: str = Field(description="tiny, small, base or large")
    modalities: list[str] = Field(description="what the encoder has learnt, in order")
    stage: int = Field(description="number of its stage of continual pre-training, from 1")
    modality: str = Field(description="modality that it was trained on last")
    kind: Kind = Field(description="shape of a sample: text, image2d or volume3d")
    classes: list[str] | None = Field(
        description="names of the classes in the order of their numbers; null for an encoder"
    )
    sample_shape: list[int] = Field(description="(C, H, W), (C, D, H, W) or (tokens,)")
    recipe: dict[str, Any] = Field(description="preprocessing of the data it was trained on")
    config: dict[str, Any] = Field(description="what rebuilds the architecture")
    metrics: dict[str, float] = Field(description="final numbers by name")
    parents: list[str] = Field(description="models and datasets that it was made from")
    dataset_id: str | None = Field(description="dataset that it was trained on")
    job_id: str | None = Field(description="job that made it")
    total_bytes: int = Field(description="size of all files together", json_schema_extra=BYTES)
    created_at: datetime = Field(description="when it was recorded")
