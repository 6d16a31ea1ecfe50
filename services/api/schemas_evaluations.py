"""What the API tells of evaluations."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medcoss.specs.forgetting_records import ForgettingInfo
from medcoss.specs.records import Bootstrap, EvaluationInfo, Leakage

Scores = dict[str, float]
Interval = tuple[float, float]


class EvaluationOut(BaseModel):
    """The scores of one model on one split of a dataset."""

    id: str = Field(description="identifier, evl_...")
    project_id: str = Field(description="project that owns it, prj_...")
    name: str = Field(description="name of the job that made it")
    model_id: str = Field(description="model that was scored, mdl_...; it may have been deleted since")
    model_name: str = Field(description="name of the model at that time")
    encoder_id: str | None = Field(description="model that it was fine-tuned from; null: from scratch")
    dataset_id: str = Field(description="dataset that it was scored on, ds_...; it may have been deleted since")
    dataset_name: str = Field(description="name of the dataset at that time")
    split: str = Field(description="train, val, test, or held_out: the fold that the model has not been trained on")
    task: Literal["classification", "segmentation", "forgetting"] = Field(
        description="classification or segmentation; forgetting: what a line of encoders has kept of each modality"
    )
    headline: str = Field(description="name of the metric that `score` is: f1, dice or backward_transfer")
    score: float = Field(
        description="the headline metric, f1 and dice between 0 and 1, backward_transfer 0 where nothing was forgotten "
        "and negative where something was; higher is better"
    )
    seed: int | None = Field(description="seed of the model's training; null where it is not known")
    fold: int | None = Field(description="fold of a cross-validation that was held out; null without one")
    metrics: Scores = Field(description="scores by name, of all classes together; docs/evaluation.md tells their units")
    intervals: dict[str, Interval] = Field(
        description="95 % intervals [low, high] by the names of `metrics`, and `score/CLASS`"
    )
    bootstrap: Bootstrap | None = Field(description="how the intervals were made; null where there are none")
    classes: list[str] = Field(description="names of the classes in the order of their numbers")
    per_class: list[dict[str, str | int | float | None]] = Field(description="scores of each class, a row a class")
    confusion: list[list[int]] | None = Field(description="confusion[i][j]: cases of class i predicted as class j")
    calibration: list[dict[str, float]] | None = Field(description="bins of the reliability curve that hold cases")
    grid: Literal["original", "stored"] | None = Field(
        None, description="of segmenters: whether masks were scored on the grid that the images came on, or on that of "
        "the prepared samples; null for classifiers, and where it is not known"
    )  # fmt: skip
    leakage: list[Leakage] = Field(description="patients that were trained on and measured on, as far as allowed")
    forgetting: ForgettingInfo | None = Field(
        None, description="of the task forgetting: every stage on every modality, and what the newest one has kept"
    )
    job_id: str | None = Field(description="job that made it")
    created_at: datetime = Field(description="when it was recorded")


class EvaluatedOut(BaseModel):
    """What was evaluated, in a comparison."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="identifier, evl_...")
    name: str = Field(description="name of the job that made it")
    model_id: str = Field(description="model that was scored, mdl_...")
    model_name: str = Field(description="name of the model at that time")
    encoder_id: str | None = Field(description="model that it was fine-tuned from; null: from scratch")
    seed: int | None = Field(description="seed of the model's training; null where it is not known")
    fold: int | None = Field(description="fold of a cross-validation that was held out; null without one")
    created_at: datetime = Field(description="when it was recorded")


class ComparedOut(BaseModel):
    """A score of one evaluation, and its difference to that of the first one."""

    model_config = ConfigDict(from_attributes=True)

    evaluation: str = Field(description="identifier of the evaluation, evl_...")
    value: float | None = Field(description="the score, in the metric's unit; null where it is undefined")
    interval: Interval | None = Field(description="95 % interval [low, high] of the score; null where there is none")
    difference: float | None = Field(description="the score minus that of the first evaluation; null for itself")
    difference_interval: Interval | None = Field(
        description="95 % interval [low, high] of the difference, by a paired bootstrap; null where there is no pair"
    )
    p: float | None = Field(
        description="two-sided p-value of the difference by the same bootstrap, of a single comparison; null where "
        "there is no pair"
    )


class ComparedMetricOut(BaseModel):
    """One score in all evaluations."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="name of the score, as in `metrics` of the evaluations")
    better: Literal["higher", "lower"] = Field(description="whether higher or lower values are better")
    values: list[ComparedOut] = Field(description="the score in each evaluation, in their order")


class ComparisonOut(BaseModel):
    """Evaluations side by side: one split of one dataset, several models."""

    task: str = Field(description="classification or segmentation")
    dataset_id: str = Field(description="dataset that all were scored on, ds_...")
    split: str = Field(description="split that all were scored on")
    baseline: str = Field(description="the evaluation that the others are compared with: the first one")
    evaluations: list[EvaluatedOut] = Field(description="what is compared, in the order of the request")
    metrics: list[ComparedMetricOut] = Field(description="scores, the headline metric first")
    unpaired: dict[str, str] = Field(description="evaluations without a paired bootstrap, by id, and why")


# what is read from `info` alone
EVALUATION_INFO = frozenset(EvaluationInfo.model_fields) & frozenset(EvaluationOut.model_fields)

_EVALUATION: dict[str, Any] = {
    "id": "evl_0199c2d8a1170a1b2c3d4", "project_id": "prj_default", "name": "evaluate of chest X-rays",
    "model_id": "mdl_0199c2d1c44e5f6071829", "model_name": "chest", "encoder_id": "mdl_0199c2bf733d4e5f60718",
    "dataset_id": "ds_0199c2b4a11b2c3d4e5f6", "dataset_name": "chest", "split": "test", "task": "classification",
    "headline": "f1", "score": 0.894, "seed": 0, "fold": None,
    "metrics": {"accuracy": 0.905, "f1": 0.894, "ece": 0.041, "auc": 0.962, "auc_ovo": 0.962},
    "intervals": {"accuracy": [0.881, 0.926], "f1": [0.868, 0.918], "recall/pneumonia": [0.931, 0.971]},
    "bootstrap": {"resamples": 1000, "seed": 0, "level": 0.95, "units": 598},
    "classes": ["normal", "pneumonia"],
    "per_class": [
        {"class": "normal", "cases": 234, "predicted": 213, "precision": 0.911, "recall": 0.829, "f1": 0.868,
         "auc": 0.962},
        {"class": "pneumonia", "cases": 390, "predicted": 411, "precision": 0.903, "recall": 0.951, "f1": 0.926,
         "auc": 0.962},
    ],
    "confusion": [[194, 40], [19, 371]],
    "calibration": [{"low": 0.933, "high": 1.0, "confidence": 0.981, "accuracy": 0.949, "cases": 487.0}],
    "leakage": [], "job_id": "job_0199c2d7f02a1b2c3d4e5", "created_at": "2026-03-02T12:00:00Z",
}  # fmt: skip

_OTHER = _EVALUATION | {"id": "evl_0199c2da3c2f1a2b3c4d5", "model_id": "mdl_0199c2d9e5602b3c4d5e6", "encoder_id": None}
_COMPARED: dict[str, Any] = {
    "task": "classification", "dataset_id": _EVALUATION["dataset_id"], "split": "test", "baseline": _EVALUATION["id"],
    "evaluations": [{name: one[name] for name in EvaluatedOut.model_fields} for one in (_EVALUATION, _OTHER)],
    "metrics": [
        {
            "name": "f1", "better": "higher",
            "values": [
                {"evaluation": _EVALUATION["id"], "value": 0.894, "interval": [0.868, 0.918], "difference": None,
                 "difference_interval": None, "p": None},
                {"evaluation": _OTHER["id"], "value": 0.861, "interval": [0.832, 0.889], "difference": -0.033,
                 "difference_interval": [-0.054, -0.012], "p": 0.004},
            ],
        }
    ],
    "unpaired": {},
}  # fmt: skip

EXAMPLES: tuple[BaseModel, ...] = (EvaluationOut.model_validate(_EVALUATION), ComparisonOut.model_validate(_COMPARED))
