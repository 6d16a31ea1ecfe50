"""What the gateway answers."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from medcoss.modalities import Kind


class TimingMs(BaseModel):
    """Milliseconds spent waiting for a turn, fetching what was named by reference, reading the file, preparing it, on
    the model server (its queue included), putting the answer together, and in all.
    """

    queue: float = 0.0
    fetch: float = 0.0
    decode: float
    preprocess: float = 0.0
    infer: float
    postprocess: float = 0.0
    total: float


class Embedding(BaseModel):
    """The feature of one input."""

    model: str
    version: int
    embedding: list[float]
    timing_ms: TimingMs


class SearchTimingMs(TimingMs):
    """Milliseconds spent decoding, waiting for the model server, searching, and in all."""

    search: float


class NearestStudy(BaseModel):
    """A study that an index holds, and its cosine to what was searched for: 1 for the same direction."""

    score: float
    dataset: str
    sample: str
    group: str
    source: str
    split: str
    label: str
    patient: str
    modality: str
    samples: int


class SearchAnswer(BaseModel):
    """The nearest studies, nearest first, `among` how many that pass the filters, by which version of the index."""

    index: str
    version: int
    model_id: str
    search: Literal["exact", "approximate"]
    among: int
    items: list[NearestStudy]
    timing_ms: SearchTimingMs


class Classification(BaseModel):
    """The likeliest class and the probability of each."""

    model: str
    version: int
    prediction: str
    probabilities: dict[str, float]
    timing_ms: TimingMs


class ClassFound(BaseModel):
    """What was found of one class."""

    name: str
    label: int = Field(description="its value in the label map")
    voxels: int = Field(description="voxels or pixels that it covers, also where a later class lies above it")
    highest_probability: float = Field(description="highest probability in the whole input; below 0.5 nothing is found")


class SegmentedVolumes(BaseModel):
    """What each class covers: `volume_ml` of a volume, `pixels` of an image."""

    model: str
    version: int
    volume_ml: dict[str, float] | None = None
    pixels: dict[str, int] | None = None
    found: list[ClassFound] = []
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


class Tensor(BaseModel):
    """A tensor as Triton has it: `shape` without the batch axis."""

    name: str
    shape: list[int] | None = Field(None, description="axes of one sample; null where the model alone knows")


class CallPage(BaseModel):
    """One call that a model answers."""

    call: str
    url: str
    formats: dict[str, str] = Field(description="values of the parameter `format`, and the media type of each")
    curl: str = Field(description="a command line that calls it")


class LabelPage(BaseModel):
    """One class of a model."""

    label: int = Field(description="of a segmenter its value in label maps, else its place among the probabilities")
    name: str


class ModelPage(ServedModel):
    """What a served model takes and gives, and how to call it."""

    accepts: list[str] = Field(description="what may be sent, in words")
    inputs: list[Tensor] = Field(description="what Triton is asked about, once prepared")
    outputs: list[Tensor]
    labels: list[LabelPage]
    recipe: dict[str, Any] = Field(description="how inputs are prepared: as the training data was")
    postprocess: list[dict[str, Any]] = Field(description="what is done to masks")
    limits: dict[str, float] = Field(description="bytes of a request, voxels, pixels, characters, seconds")
    endpoints: list[CallPage]


class ServedModels(BaseModel):
    """The newest version of every served model."""

    items: list[ServedModel]


class Health(BaseModel):
    """Whether the gateway can answer, and which of its parts do."""

    status: str
    checks: dict[str, bool] = {}
