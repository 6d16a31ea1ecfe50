"""Lines of models, lineage and cards, as the server tells them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from medcoss.client.records import Record


class LineStage(Record):
    """One stage of a line: the model it has made, what it has learnt from which data, and what its report says."""

    model_id: str
    name: str
    stage: int | None = None
    learnt: list[str] = Field(default=[])
    modalities: list[str] = Field(default=[])
    dataset_ids: list[str] = Field(default=[])
    buffer_ids: list[str] = Field(default=[])
    aliases: list[str] = Field(default=[])
    branches: list[str] = Field(default=[])
    report_id: str | None = None
    report: dict[str, float] = Field(default={})


class Line(Record):
    """A line of models; with another one, where they have parted, and the numbers of both forgetting reports."""

    stages: list[LineStage]
    parted_at: str | None = None
    compared: dict[str, dict[str, float]] = Field(default={})


class LineSummary(Record):
    """A line of models in a list, by its newest stage; `aliases` that stand on it are told with their models."""

    model_id: str
    name: str
    first_model_id: str
    stages: int
    modalities: list[str] = Field(default=[])
    aliases: dict[str, str] = Field(default={})
    report_id: str | None = None
    report: dict[str, float] = Field(default={})
    created_at: datetime


class LineageNode(Record):
    """A dataset, model or deployment, and the job that made it."""

    id: str
    noun: str
    depth: int
    name: str | None = None
    what: str | None = None
    modality: str | None = None
    files: int | None = None
    total_bytes: int | None = None
    sha256: str | None = None
    deleted: bool = False
    job: dict[str, Any] | None = None
    erasures: list[str] = Field(default=[])


class LineageGraph(Record):
    """What something was made from, or what was made of it; edges are (made, made from)."""

    root: str
    nodes: list[LineageNode]
    edges: list[tuple[str, str]]
    complete: bool = True
    files: dict[str, list[dict[str, Any]]] = Field(default={})


class Holders(Record):
    """What holds the data of a patient or a file; of `unknown` datasets nobody can say."""

    datasets: dict[str, list[str]] = Field(default={})
    models: list[str] = Field(default=[])
    deployments: list[str] = Field(default=[])
    unknown: list[str] = Field(default=[])


class Card(Record):
    """A model card, as data and as a page."""

    card: dict[str, Any]
    markdown: str
