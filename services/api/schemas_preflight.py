"""What the API tells of jobs that are looked over before they are submitted."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.core.problems import FieldProblem

_SAMPLES = {"value": 5_216, "unit": "sample", "how": "training samples of the dataset", "parts": {"xray": 5_216}}
_STEPS = {"value": 8_100, "unit": "step", "how": "81 batches an epoch, 100 epochs, a step each", "parts": {}}
_PASSED: dict[str, Any] = {
    "valid": True, "kind": "pretrain", "ref": None,
    "spec": {"dataset": "ds_0199c2b4a11b2c3d4e5f6", "size": "small", "epochs": 100, "batch_size": 64},
    "aliases": {}, "errors": [],
    "warnings": [{"pointer": "/spec/dataset",
                  "detail": "the dataset has no samples of the split val: there is going to be no val_loss"}],
    "runs_on": "gpu", "samples": _SAMPLES,
    "batches": {"value": 81, "unit": "batch", "how": "whole batches of 64 in an epoch", "parts": {}}, "steps": _STEPS,
    "parameters": {"value": 26_911_232, "unit": "parameter", "how": "counted from the model's sizes", "parts": {}},
    "memory": {"value": 2_040_109_466, "unit": "byte", "how": "tensors on the GPU, counted from the model's sizes",
               "parts": {"weights": 107_644_928, "optimizer": 180_000_000, "activations": 1_752_464_538}},
    "duration": {"value": 1_263.9, "unit": "s", "how": "518,400 samples at 410.2 a second, the median of 3 earlier "
                 "pretrain jobs of this size and shape of samples on GPU workers", "parts": {}},
    "storage": {"value": 1_086_000_000, "unit": "byte", "how": "the newest two checkpoints and one being written; then "
                "the model stays", "parts": {"checkpoints": 978_355_072, "model": 107_644_928}},
    "waits_for": [{"what": "turn", "detail": "2 jobs are ahead of it in the queue"}],
    "checked_at_start": [{"pointer": "/spec/dataset", "detail": "whether a patient in val and test of the dataset has "
                          "been trained on; if so, the job fails, once"}],
}  # fmt: skip
_SUM: dict[str, Any] = {
    "how": "the longest way through the jobs that need each other, if there are workers enough", "parts": {},
}  # fmt: skip


class FigureOut(BaseModel):
    """A number, and how it is known."""

    model_config = ConfigDict(from_attributes=True)

    value: int | float | None = Field(description="the number; null when it cannot be known beforehand")
    unit: str = Field(description="what is counted: sample, batch, step, parameter, byte or s")
    how: str = Field(description="how it was counted, measured or estimated; for null, why it cannot be known")
    parts: dict[str, int] = Field(description="what it adds up from, by name")


class WaitOut(BaseModel):
    """Something that a job would wait for."""

    model_config = ConfigDict(from_attributes=True)

    what: Literal["dependency", "resources", "quota", "turn"] = Field(
        description="other jobs, a worker that has what it needs, jobs of the same owner, or its place in the queue"
    )
    detail: str = Field(description="in words")


class PreflightOut(BaseModel):
    """What would come of a job if it were submitted now. Nothing is recorded."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PASSED]})

    valid: bool = Field(description="false: it would be refused, or fail once it runs; `errors` says why")
    kind: str = Field(description="kind of the job")
    ref: str | None = Field(None, description="its name in the batch")
    spec: dict[str, Any] | None = Field(
        description="parameters with defaults filled in and ids in place of aliases; null when fields are wrong"
    )
    aliases: dict[str, str] = Field(description="the model that each alias of the spec stands for now")
    errors: list[FieldProblem] = Field(description="what is wrong, each with a pointer into the request")
    warnings: list[FieldProblem] = Field(description="what does not keep it from running, but may not be meant so")
    runs_on: Literal["gpu", "cpu"] | None = Field(description="what it is going to run on; null when fields are wrong")
    samples: FigureOut | None = Field(description="samples that it reads; null when fields are wrong")
    batches: FigureOut | None = Field(description="batches of an epoch, or of the one pass; null when fields are wrong")
    steps: FigureOut | None = Field(description="optimizer steps in all; null when fields are wrong")
    parameters: FigureOut | None = Field(description="parameters of the model; null when fields are wrong")
    memory: FigureOut | None = Field(description="memory of the accelerator at its peak; null when fields are wrong")
    duration: FigureOut | None = Field(description="time that it is going to run; null when fields are wrong")
    storage: FigureOut | None = Field(description="room in the object store at its peak; null when fields are wrong")
    waits_for: list[WaitOut] = Field(description="what would keep it from running at once; empty: nothing")
    checked_at_start: list[FieldProblem] = Field(
        description="what nobody knows before a worker has fetched the files, and is looked at before the first step"
    )


class BatchPreflightOut(BaseModel):
    """What would come of a batch if it were submitted now. Nothing is recorded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "valid": True, "errors": [], "jobs": [_PASSED],
                    "duration": {"value": 1_263.9, "unit": "s", **_SUM},
                    "storage": {"value": 1_086_000_000, "unit": "byte", "how": "the sum of the jobs", "parts": {}},
                }
            ]
        }
    )  # fmt: skip

    valid: bool = Field(description="true when every job is valid and the quota has room for all")
    errors: list[FieldProblem] = Field(description="what is wrong with the batch as a whole")
    jobs: list[PreflightOut] = Field(description="the jobs in the order of the request; pointers lead into each job")
    duration: FigureOut = Field(description="time from the first start to the last end")
    storage: FigureOut = Field(description="room in the object store that all of them need together")
