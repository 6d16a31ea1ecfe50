"""Evaluations and their comparison, as the server tells them."""

from datetime import datetime
from typing import Any

from pydantic import Field

from medcoss.client.records import Record

Interval = tuple[float, float]


class Evaluation(Record):
    """The scores of one model on one split of a dataset; `score` is the metric named `headline`.

    `encoder_id` is what the model was fine-tuned from, None from scratch; `seed` and `fold` are those of its training.
    """

    id: str
    project_id: str = ""
    name: str
    model_id: str
    model_name: str
    encoder_id: str | None = None
    dataset_id: str
    dataset_name: str
    split: str
    task: str
    headline: str
    score: float
    seed: int | None = None
    fold: int | None = None
    metrics: dict[str, float] = Field(default={})
    intervals: dict[str, Interval] = Field(default={})
    bootstrap: dict[str, Any] | None = None
    classes: list[str] = Field(default=[])
    per_class: list[dict[str, str | int | float | None]] = Field(default=[])
    confusion: list[list[int]] | None = None
    calibration: list[dict[str, float]] | None = None
    grid: str | None = None
    leakage: list[dict[str, Any]] = Field(default=[])
    forgetting: dict[str, Any] | None = None
    job_id: str | None = None
    created_at: datetime


class Evaluated(Record):
    """What was evaluated, in a comparison."""

    id: str
    name: str
    model_id: str
    model_name: str
    encoder_id: str | None = None
    seed: int | None = None
    fold: int | None = None
    created_at: datetime


class Compared(Record):
    """A score of one evaluation; `difference` is to the first one, with interval and p-value of a paired bootstrap
    where there is a pair.
    """

    evaluation: str
    value: float | None = None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None
    p: float | None = None


class ComparedMetric(Record):
    """One score in all evaluations, in their order; `better` is higher or lower."""

    name: str
    better: str
    values: list[Compared]


class Comparison(Record):
    """Evaluations side by side; `unpaired` says of those without a paired bootstrap why."""

    task: str
    dataset_id: str
    split: str
    baseline: str
    evaluations: list[Evaluated]
    metrics: list[ComparedMetric]
    unpaired: dict[str, str] = Field(default={})
