"""What the API tells of lines of models, of what was made from what, and of model cards."""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.api.schemas import BYTES, Body

_FIRST, _SECOND = "mdl_0199c2b9a10b3c4d5e6f7", "mdl_0199c2bf733d4e5f60718"
_RAW, _DATA, _BUFFER = "ds_0199c2b3f00a1b2c3d4e5", "ds_0199c2b4a11b2c3d4e5f6", "ds_0199c2c0d22c3d4e5f607"
_REPORT = "evl_0199c2d8a1170a1b2c3d4"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_STAGE: dict[str, Any] = {
    "model_id": _SECOND, "name": "encoder-stage2-xray", "stage": 2, "learnt": ["xray"],
    "modalities": ["report", "xray"], "dataset_ids": [_DATA], "buffer_ids": [_BUFFER], "aliases": ["production"],
    "branches": [], "report_id": _REPORT, "report": {"backward_transfer": -0.02, "average_forgetting": 0.02},
}  # fmt: skip
_LINE: dict[str, Any] = {
    "stages": [
        _STAGE | {"model_id": _FIRST, "name": "encoder-stage1-report", "stage": 1, "learnt": ["report"],
                  "modalities": ["report"], "buffer_ids": [], "aliases": []},
        _STAGE,
    ],
    "parted_at": None, "compared": {},
}  # fmt: skip
_SUMMARY: dict[str, Any] = {
    "model_id": _SECOND, "name": "encoder-stage2-xray", "first_model_id": _FIRST, "stages": 2,
    "modalities": ["report", "xray"], "aliases": {"production": _SECOND}, "report_id": _REPORT,
    "report": {"backward_transfer": -0.02, "average_forgetting": 0.02}, "created_at": "2026-03-02T08:30:00Z",
}  # fmt: skip
_NODE: dict[str, Any] = {
    "id": _DATA, "noun": "dataset", "depth": 1, "name": "chest", "what": "prepared", "modality": "xray", "files": 3,
    "total_bytes": 81_228_104, "sha256": _SHA256, "deleted": False,
    "job": {"id": "job_0199c2b44550a1b2c3d4e", "kind": "preprocess", "spec": {"dataset": _RAW}, "created_by": "ada",
            "finished_at": "2026-03-02T08:30:00+00:00", "attempts": 1},
    "erasures": [],
}  # fmt: skip
_GRAPH: dict[str, Any] = {
    "root": _SECOND, "nodes": [_NODE], "edges": [[_SECOND, _DATA]], "complete": True,
    "files": {_RAW: [{"path": "train/normal/0001.png", "size": 48_213, "sha256": _SHA256}]},
}  # fmt: skip


_HOLDERS: dict[str, Any] = {
    "datasets": {_DATA: ["train"], _BUFFER: ["train"]}, "models": [_SECOND],
    "deployments": ["dep_0199c2d2277071829304b"], "unknown": [],
}  # fmt: skip


class StageOut(BaseModel):
    """One stage of a line of models."""

    model_id: str = Field(description="model that the stage has made, mdl_...")
    name: str = Field(description="name of the model")
    stage: int | None = Field(description="number of the stage, from 1; null where it is not known")
    learnt: list[str] = Field(description="modalities that the stage has learnt")
    modalities: list[str] = Field(description="modalities that the model knows, in the order in which it learnt them")
    dataset_ids: list[str] = Field(description="prepared datasets that it has learnt, ds_...")
    buffer_ids: list[str] = Field(description="rehearsal buffers that took part, ds_...")
    aliases: list[str] = Field(description="aliases that stand for the model now, without their @")
    branches: list[str] = Field(description="encoders that go on from the model on other lines, mdl_...")
    report_id: str | None = Field(description="newest forgetting report of the line up to here, evl_...")
    report: dict[str, float] = Field(description="numbers of that report by name")


class Numbers(BaseModel):
    """A number of two forgetting reports."""

    first: float = Field(description="in the report of this line")
    second: float = Field(description="in the report of the other line")
    difference: float = Field(description="the second minus the first")


class LineOut(BaseModel):
    """A line of models: an encoder, stage after stage, the first one first."""

    model_config = ConfigDict(json_schema_extra={"example": _LINE})

    stages: list[StageOut] = Field(description="the stages, from scratch or from an imported encoder on")
    parted_at: str | None = Field(
        None, description="with `other`: the last model that both lines have in common; null where there is none"
    )
    compared: dict[str, Numbers] = Field(
        {}, description="with `other`: numbers of the newest forgetting report of each line, where both have them"
    )


class LineSummaryOut(BaseModel):
    """A line of models in a list, by its newest stage."""

    model_config = ConfigDict(json_schema_extra={"example": _SUMMARY})

    model_id: str = Field(description="model of the newest stage, mdl_...")
    name: str = Field(description="name of that model")
    first_model_id: str = Field(description="model of the first stage: lines with the same one have branched, mdl_...")
    stages: int = Field(description="how many stages there are", json_schema_extra={"unit": "stage"})
    modalities: list[str] = Field(description="modalities that the newest stage knows, in the order of learning")
    aliases: dict[str, str] = Field(description="aliases that stand on the line, without their @, and their models")
    report_id: str | None = Field(description="newest forgetting report of the line, evl_...; null without one")
    report: dict[str, float] = Field(description="numbers of that report by name")
    created_at: datetime = Field(description="when the newest stage was made")


class NodeOut(BaseModel):
    """A dataset, model or deployment, and what made it."""

    id: str = Field(description="identifier, ds_..., mdl_... or dep_...")
    noun: Literal["dataset", "model", "deployment"] = Field(description="dataset, model or deployment")
    depth: int = Field(description="how many steps it is away from where the graph begins")
    name: str | None = Field(description="its name; null when it was deleted")
    what: str | None = Field(description="role of a dataset, task and stage of a model, version of a deployment")
    modality: str | None = Field(description="what it shows or has learnt last")
    files: int | None = Field(description="number of files of a dataset")
    total_bytes: int | None = Field(description="size of all files of a dataset", json_schema_extra=BYTES)
    sha256: str | None = Field(description="SHA-256 over the sorted paths and hashes of its files: names its content")
    deleted: bool = Field(description="true when it was deleted since")
    job: dict[str, Any] | None = Field(description="the job that made it: its kind and its whole spec")
    erasures: list[str] = Field(description="erasures that have marked it: it holds data that have to go, ers_...")


class LineageOut(BaseModel):
    """What something was made from, or what was made of it."""

    model_config = ConfigDict(json_schema_extra={"example": _GRAPH})

    root: str = Field(description="where the graph begins")
    nodes: list[NodeOut] = Field(description="everything in it, nearest first")
    edges: list[tuple[str, str]] = Field(description="pairs: what was made, what it was made from")
    complete: bool = Field(description="false when there is more than the 2000 nodes of an answer")
    files: dict[str, list[dict[str, Any]]] = Field(
        description="with `files`: the first files of each raw dataset, with path, size in bytes and SHA-256"
    )


class HoldersQuery(Body):
    """Whose data are looked for: a patient, or a file. One of them; it stays out of URLs and logs."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"patient": "0001234", "cohort": "own"}})

    patient: str | None = Field(
        None, min_length=1, max_length=256, description="identifier of the patient, as the recipe has found it"
    )
    cohort: str = Field(
        "own", max_length=64, description="cohort of the recipe that the identifier is of, or the recipe's name"
    )
    key: str | None = Field(
        None, pattern=r"^[0-9a-f]{32,32}$", description="keyed hash of the patient, as in samples.parquet"
    )
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="SHA-256 of a raw file")

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if sum(value is not None for value in (self.patient, self.key, self.sha256)) != 1:
            raise ValueError("expected one of patient, key and sha256")
        return self


class HoldersOut(BaseModel):
    """What holds the data of a patient or of a file."""

    model_config = ConfigDict(json_schema_extra={"example": _HOLDERS})

    datasets: dict[str, list[str]] = Field(
        description="datasets and buffers, and in which splits; of a file: raw, or made from it"
    )
    models: list[str] = Field(description="models that were trained on them, through all stages and fine-tunings")
    deployments: list[str] = Field(description="served versions of these models")
    unknown: list[str] = Field(
        description="prepared datasets and buffers without a list of patients: of these nobody can say"
    )


class CardOut(BaseModel):
    """A model card: data, stages, settings, numbers, code version, environment."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"card": {"id": _SECOND, "name": "encoder-stage2-xray"}, "markdown": "# encoder-stage2-xray\n"}
        }
    )

    card: dict[str, Any] = Field(description="the card as data")
    markdown: str = Field(description="the card as a page")
