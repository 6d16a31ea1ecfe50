"""What the API takes and gives about names, notes, tags and search."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from medcoss.specs.base import Name
from services.api.schemas import SECONDS, Body, Notes, Tags, Text


class JobChange(Body):
    """What to change of a job; what is left out stays."""

    name: Text | None = Field(None, min_length=1, max_length=128, description="for people")
    notes: Notes | None = Field(None, description="for people")
    tags: Tags | None = Field(None, description="these and no others")
    priority: int | None = Field(None, ge=-100, le=100, description="of a job that has not ended; higher runs first")
    time_limit_s: float | None = Field(
        None, gt=0, le=31_536_000, description="of a job that has not ended: time that all attempts may run together",
        json_schema_extra=SECONDS,
    )  # fmt: skip


class DatasetChange(Body):
    """What to change of a dataset; what is left out stays."""

    name: Name | None = Field(None, description="name of the dataset")
    description: Notes | None = Field(None, description="for people")
    tags: Tags | None = Field(None, description="these and no others")


class ModelChange(Body):
    """What to change of a model; what is left out stays."""

    name: Text | None = Field(None, min_length=1, max_length=128, description="for people")
    notes: Notes | None = Field(None, description="for people")
    tags: Tags | None = Field(None, description="these and no others")


class FoundOut(BaseModel):
    """A dataset, job or model that was found."""

    type: Literal["dataset", "job", "model"] = Field(description="what it is")
    id: str = Field(description="identifier")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name that its owner chose")
    notes: str = Field(description="for people")
    tags: list[str] = Field(description="what it is found by, in the order of the alphabet")
    detail: str = Field(description="a dataset's role, a job's kind, a model's task")
    state: str | None = Field(description="where it stands; null for a model")
    created_at: datetime = Field(description="when it was recorded")


class SparseSearch(BaseModel):
    """What was found, with the `fields` that were asked for."""

    items: list[dict[str, Any]] = Field(description="what was found, newest first, with the fields that were asked for")
    more: bool = Field(description="there is more than that: search for more words")


class SearchOut(BaseModel):
    """What was found, newest first."""

    items: list[FoundOut] = Field(description="what was found, newest first")
    more: bool = Field(description="there is more than that: search for more words")
