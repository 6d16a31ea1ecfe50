"""What the gateway answers."""

from pydantic import BaseModel

from medcoss.modalities import Kind


class TimingMs(BaseModel):
    """Milliseconds spent decoding, waiting for the model server, and in all."""

    decode: float
    infer: float
    total: float


class Embedding(BaseModel):
    """The feature of one input."""

    model: str
    version: int
    embedding: list[float]
    timing_ms: TimingMs


class Classification(BaseModel):
    """The likeliest class and the probability of each."""

    model: str
    version: int
    prediction: str
    probabilities: dict[str, float]
    timing_ms: TimingMs


class SegmentedVolumes(BaseModel):
    """What each class covers: `volume_ml` of a volume, `pixels` of an image."""

    model: str
    version: int
    volume_ml: dict[str, float] | None = None
    pixels: dict[str, int] | None = None
    timing_ms: TimingMs


class ServedModel(BaseModel):
    """One served model and the calls that it answers."""

    name: str
    version: int
    task: str
    modality: str
    kind: Kind
    classes: list[str] | None
    sample_shape: list[int]
    calls: list[str]
    model_id: str


class ServedModels(BaseModel):
    """The newest version of every served model."""

    items: list[ServedModel]


class Health(BaseModel):
    """Whether the gateway can answer, and which of its parts do."""

    status: str
    checks: dict[str, bool] = {}
