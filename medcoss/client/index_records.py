"""Indexes and what is found in them, as the servers tell them."""

from datetime import datetime

from pydantic import Field

from medcoss.client.records import Record


class IndexBuild(Record):
    """The newest build of an index."""

    job_id: str
    state: str
    model_id: str
    fraction: float | None = None
    eta_s: float | None = None
    error: str | None = None


class Index(Record):
    """Studies of datasets, found by the nearness of their embeddings; `state` is building, ready, updating or failed.

    What tells of vectors is of the version that answers, None before there is one.
    """

    id: str
    project_id: str = ""
    name: str
    description: str = ""
    state: str
    encoder: str
    datasets: list[str]
    version: int
    model_id: str | None = None
    level: str
    vectors: int | None = None
    width: int | None = None
    search: str | None = None
    per_dataset: dict[str, int] | None = None
    modalities: list[str] | None = None
    projected: int | None = None
    total_bytes: int | None = None
    built_at: datetime | None = None
    build: IndexBuild | None = None
    trouble: str | None = None
    created_by: str = ""
    created_at: datetime


class NearestStudy(Record):
    """A study and its cosine to what was searched for."""

    score: float
    dataset: str
    sample: str
    group: str = ""
    source: str = ""
    split: str = ""
    label: str = ""
    patient: str = ""
    modality: str = ""
    samples: int = 1


class SearchTiming(Record):
    """Milliseconds spent decoding, waiting for the model server, searching, and in all."""

    decode: float = 0.0
    infer: float = 0.0
    search: float = 0.0
    total: float = 0.0


class SearchAnswer(Record):
    """The nearest studies, nearest first; `among` how many that pass the filters."""

    index: str
    version: int
    model_id: str
    search: str
    among: int
    items: list[NearestStudy]
    timing_ms: SearchTiming = Field(default=SearchTiming())
