"""What the API takes and gives about indexes."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from medcoss.specs.base import DatasetRef, ModelRef
from medcoss.specs.inference import IndexOptions, Search
from services.api.schemas import Body, ProjectRef, Text

_MODEL, _NEXT = "mdl_0199c2bf733d4e5f60718", "mdl_0199c2d1c44e5f6071829"
_DATASETS: list[Any] = ["ds_0199c2b4a11b2c3d4e5f6", "ds_0199c2b9f22c3d4e5f607"]
NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"

IndexName = Annotated[str, Path(pattern=NAME, description="name of an index, e.g. chest-search")]


class IndexRequest(Body):
    """Asks for an index of datasets by the embeddings of one encoder."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"name": "chest-search", "encoder": "@production", "datasets": _DATASETS}},
    )

    name: str = Field(pattern=NAME, description="what it is called in its project: lower-case letters, digits, - and _")
    encoder: ModelRef = Field(
        description="encoder or classifier, by id or by an alias: then the index is built again when the alias moves"
    )
    datasets: list[DatasetRef] = Field(
        min_length=1,
        max_length=64,
        description="prepared datasets or rehearsal buffers, of modalities that the encoder has learnt",
    )
    description: Text = Field("", max_length=4000, description="for people")
    level: Literal["study", "sample"] = Field(
        "study", description="study: a vector an image, a report or a volume; sample: of volumes one of every tile"
    )
    search: Search = Field(
        "auto", description="exact compares with every vector, approximate walks a graph (HNSW); auto is exact up to "
        "100,000 vectors"
    )  # fmt: skip
    batch_size: int = Field(
        32, ge=1, le=8192, description="samples in a batch of the encoder", json_schema_extra={"unit": "sample"}
    )
    projection: int = Field(
        20_000, ge=0, le=200_000, description="most studies in the 2-D projection (UMAP); 0 makes none",
        json_schema_extra={"unit": "sample"},
    )  # fmt: skip
    project: ProjectRef = Field(None, description="name or id; left out: the key's only project, or else `default`")

    @property
    def options(self) -> IndexOptions:
        """How it is built."""
        return IndexOptions.model_validate(self.model_dump(include=set(IndexOptions.model_fields)))


class BuildOut(BaseModel):
    """The newest build of an index."""

    job_id: str = Field(description="job that embeds, job_...")
    state: str = Field(description="state of that job")
    model_id: str = Field(description="model that it embeds with, mdl_...")
    fraction: float | None = Field(description="how far it is; null before it knows", json_schema_extra={"unit": "1"})
    eta_s: float | None = Field(description="time that is left; null before it is known",
                                json_schema_extra={"unit": "s"})  # fmt: skip
    error: str | None = Field(description="why it has failed; null when it has not")


class IndexOut(BaseModel):
    """An index. What tells of vectors is of the version that answers, null before there is one."""

    id: str = Field(description="identifier, idx_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="what it is called in its project")
    description: str = Field(description="for people")
    state: Literal["building", "ready", "updating", "failed"] = Field(
        description="building: the first version is being made; ready; updating: ready, and the next version is being "
        "made; failed: the newest build has failed or cannot be made, though an earlier version may answer"
    )
    encoder: str = Field(description="model or alias that was asked for")
    datasets: list[str] = Field(description="datasets that it holds, ds_...")
    version: int = Field(description="number of the version that answers, from 1; 0: none yet")
    model_id: str | None = Field(description="model whose embeddings answer, mdl_...")
    level: str = Field(description="study or sample: what a vector stands for")
    vectors: int | None = Field(description="how many there are")
    width: int | None = Field(description="how many numbers a vector has")
    search: Literal["exact", "approximate"] | None = Field(description="how the nearest are found")
    per_dataset: dict[str, int] | None = Field(description="vectors of each dataset")
    modalities: list[str] | None = Field(description="modalities of the datasets")
    projected: int | None = Field(description="studies in the 2-D projection")
    total_bytes: int | None = Field(description="what the files of the version take",
                                    json_schema_extra={"unit": "byte"})  # fmt: skip
    built_at: datetime | None = Field(description="since when this version answers")
    build: BuildOut | None = Field(description="newest build; null when its job was deleted, or there is none")
    trouble: str | None = Field(
        description="why there is no build of the model that the alias stands for; null: all well"
    )
    created_by: str = Field(description="owner of the key that made it")
    created_at: datetime = Field(description="when it was asked for")


_INDEX: dict[str, Any] = {
    "id": "idx_0199c2e1b3062738495a6", "project_id": "prj_default", "name": "chest-search",
    "description": "films and reports of the north site", "state": "updating", "encoder": "@production",
    "datasets": _DATASETS, "version": 2, "model_id": _MODEL, "level": "study", "vectors": 11_726, "width": 768,
    "search": "exact", "per_dataset": {_DATASETS[0]: 5_863, _DATASETS[1]: 5_863}, "modalities": ["report", "xray"],
    "projected": 11_726, "total_bytes": 38_273_664, "built_at": "2026-03-02T12:00:00Z",
    "build": {"job_id": "job_0199c2e1b44a5b6c7d8e9", "state": "running", "model_id": _NEXT, "fraction": 0.4,
              "eta_s": 71.5, "error": None},
    "trouble": None, "created_by": "ada", "created_at": "2026-03-02T08:30:00Z",
}  # fmt: skip
EXAMPLES: tuple[BaseModel, ...] = (IndexOut.model_validate(_INDEX),)
