"""What the gateway tells, typed."""

from typing import Any

from pydantic import Field

from medcoss.client.records import Record


class TimingMs(Record):
    """Milliseconds spent waiting for a turn, fetching what was named by reference, reading the file, preparing it, on
    the model server, putting the answer together, and in all.
    """

    queue: float = 0.0
    fetch: float = 0.0
    decode: float
    preprocess: float = 0.0
    infer: float
    postprocess: float = 0.0
    total: float


class Embedding(Record):
    """The feature of one input."""

    model: str
    version: int
    embedding: list[float]
    timing_ms: TimingMs


class Classification(Record):
    """The likeliest class and the probability of each."""

    model: str
    version: int
    prediction: str
    probabilities: dict[str, float]
    timing_ms: TimingMs


class ClassFound(Record):
    """What was found of one class: the voxels or pixels that it covers, and its highest probability."""

    name: str
    label: int
    voxels: int
    highest_probability: float


class SegmentedAmounts(Record):
    """What each class covers: `volume_ml` of a volume, `pixels` of an image."""

    model: str
    version: int
    volume_ml: dict[str, float] | None = None
    pixels: dict[str, int] | None = None
    found: list[ClassFound] = Field(default=[])
    timing_ms: TimingMs


class Segmentation(SegmentedAmounts):
    """Masks as a file, and what they cover.

    By default `mask` is a label map, NIfTI (`suffix` .nii.gz) for a volume and PNG for an image; label `i + 1` is
    `classes[i]`.
    """

    mask: bytes
    suffix: str
    classes: list[str]


class InferenceStep(Record):
    """How far an inference is: `done` of `total` units (windows of a volume) of its `stage`."""

    stage: str
    done: int
    total: int


class InferenceFile(Record):
    """An answer of the gateway as it is, with the headers that say more about it."""

    content: bytes
    media_type: str
    headers: dict[str, str] = Field(default={})


class ServedModel(Record):
    """One served model and the calls that it answers."""

    name: str
    version: int
    task: str
    modality: str
    kind: str
    classes: list[str] | None = None
    sample_shape: list[int] = Field(default=[])
    calls: list[str] = Field(default=[])
    model_id: str


class ModelPage(ServedModel):
    """What a served model takes and gives: what may be `accepts`ed, the tensors of Triton, the labels, the recipe that
    prepares inputs, the post-processing of masks, the limits, and each call with its formats and a curl line.
    """

    accepts: list[str] = Field(default=[])
    inputs: list[dict[str, Any]] = Field(default=[])
    outputs: list[dict[str, Any]] = Field(default=[])
    labels: list[dict[str, Any]] = Field(default=[])
    recipe: dict[str, Any] = Field(default={})
    postprocess: list[dict[str, Any]] = Field(default=[])
    limits: dict[str, float] = Field(default={})
    endpoints: list[dict[str, Any]] = Field(default=[])
