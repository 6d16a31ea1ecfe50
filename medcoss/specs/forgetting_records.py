"""What a `forgetting` job finds: a table of stages and modalities, and what follows from it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StageTold(_Record):
    """One stage of the line."""

    model: str = Field(description="model, mdl_...; the name of its folder in a script")
    stage: int = Field(description="number of the stage, from 1")
    learnt: list[str] = Field(description="modalities that the stage has learnt by masked modelling")


class Measured(_Record):
    """What one stage's model makes of the held-out samples of one modality; null where it cannot be measured."""

    stage: int = Field(description="place in `stages`, from 0")
    modality: str = Field(description="what the samples show; of the second dataset of a modality such as xray, xray-2")
    loss: float | None = Field(
        None, description="pretext loss with the head of the stage that has learnt it: nats a word piece, or the mean "
        "squared error of patches of mean 0 and deviation 1"
    )  # fmt: skip
    fresh_loss: float | None = Field(None, description="the same with a head that is new on the frozen encoder")
    accuracy: float | None = Field(None, description="balanced accuracy of a probe of the classes, between 0 and 1")
    cka: float | None = Field(
        None, description="linear CKA of the features with those of the stage before, 1: the same but for rotation"
    )
    cosine: float | None = Field(None, description="mean cosine of each feature with that of the stage before")


class Kept(_Record):
    """What the last stage has left of a modality, or of a further dataset of it, that was learnt before it. Losses are
    divided by the one right after it was learnt, so that 0.1 is a tenth of that; accuracies are as they are.
    """

    modality: str = Field(description="what was learnt; of the second dataset of a modality such as xray, xray-2")
    learnt_at: int = Field(
        description="place in `stages` of the first stage that was trained on the dataset; where none was, or nobody "
        "knows, that has learnt its modality"
    )
    backward_transfer: float | None = Field(
        None, description="how much lower the loss is than right after it was learnt; negative: it was forgotten"
    )
    forgetting: float | None = Field(
        None, description="how much higher the loss is than the lowest since it was learnt"
    )
    accuracy_backward_transfer: float | None = Field(None, description="the same of the probe's accuracy")
    accuracy_forgetting: float | None = Field(
        None, description="how much lower the probe's accuracy is than the highest since it was learnt"
    )


class ForgettingInfo(_Record):
    """The table, and what the newest stage has kept."""

    schema_version: Literal[1] = Field(1, description="version of this record")
    stages: list[StageTold] = Field(description="the line, the newest stage last")
    datasets: dict[str, str] = Field(description="the dataset of each modality; a second one is xray-2")
    samples: dict[str, int] = Field(description="held-out samples of each modality")
    table: list[Measured] = Field(description="one entry for each stage and each modality that it knows")
    kept: list[Kept] = Field(description="one entry for each modality that was learnt before the newest stage")
    average_forgetting: float | None = Field(description="mean of `forgetting`; null where nothing could be forgotten")
    backward_transfer: float | None = Field(description="mean of `backward_transfer`")
    probe: Literal["linear", "knn", "none"] = Field(description="how classes were told apart")
