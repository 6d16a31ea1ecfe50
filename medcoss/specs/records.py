"""What jobs produce, as it is stored in the registry and handed to the next job."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from medcoss.modalities import Kind, Modality, get_modality
from medcoss.specs.forgetting_records import ForgettingInfo
from medcoss.specs.postprocess import Steps


class Record(BaseModel):
    """Base of the produced records."""

    model_config = ConfigDict(extra="forbid")


class FileEntry(Record):
    """One stored file: path relative to its record's prefix, size in bytes, SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class BadFile(Record):
    """An input that could not be used, and why."""

    path: str = Field(description="path inside the raw dataset")
    reason: str = Field(description="what is wrong with it")


# file of a prepared dataset with a row for each sample: its split, its patient
TABLE = "samples.parquet"
# and one with the keyed hashes of its patients by split, for who cannot read tables
PATIENTS = "patients.json.gz"
# inputs of a served model and what PyTorch answers, beside its files
GOLDEN = "golden.npz"


class Leakage(Record):
    """Patients that a model was trained on and measured on all the same, because a job allowed it."""

    reason: str = Field(description="why it was allowed")
    patients: int = Field(description="how many patients were seen in training and measured on")
    datasets: dict[str, int] = Field(description="how many of them each training dataset holds")
    measured_on: str = Field(description="the splits and the dataset measured on")


class DatasetInfo(Record):
    """A prepared dataset or a rehearsal buffer.

    `sample_shape` is `(C, H, W)`, `(C, D, H, W)` or `(tokens,)`; `recipe` holds the
    resolved parameters that made the samples, so that serving can repeat them, and `findings` what some recipes
    conclude from the training cases (nnU-Net's fingerprint, a median spacing).
    """

    role: Literal["prepared", "buffer"] = "prepared"
    modality: str
    kind: Kind
    samples: int
    splits: dict[str, int]
    classes: list[str] | None = None
    has_masks: bool = False
    labelled: dict[str, int] | None = Field(None, description="samples of each split that have a class; None: unknown")
    sample_shape: list[int]
    recipe: dict[str, Any]
    findings: Any = None
    bad_files: list[BadFile] = []
    leakage: list[Leakage] = []
    declared: Modality | None = Field(None, description="the modality, where it is none of the built-in ones")


class ModelInfo(Record):
    """A trained model.

    `config` rebuilds the architecture; `modalities` are in the order in which they were
    learnt; `recipe` is the preprocessing of the fine-tuning data (None for an encoder), `findings` that of its dataset,
    `recipes` that of every modality the encoder knows; `postprocess` is done to the masks of a segmenter.
    """

    task: Literal["encoder", "classification", "segmentation"]
    size: str
    config: dict[str, Any]
    modalities: list[str]
    stage: int
    modality: str
    kind: Kind
    classes: list[str] | None = None
    sample_shape: list[int]
    recipe: dict[str, Any]
    findings: Any = None
    recipes: dict[str, dict[str, Any]] = {}
    postprocess: Steps = ()
    metrics: dict[str, float] = {}
    leakage: list[Leakage] = []
    declared: dict[str, Modality] = Field({}, description="modalities that are none of the built-in ones, by name")
    made_with: dict[str, str] = Field({}, description="versions of the code, and the kind of machine")
    learnt: list[str] = Field([], description="modalities that its last stage has learnt, where they are several")

    @property
    def learnt_here(self) -> list[str]:
        """Modalities that the last stage has learnt by masked modelling: what its pretext heads are for."""
        return self.learnt or [self.modality]

    def modality_named(self, name: str) -> Modality:
        """A modality that the model knows, or a built-in one. Raises ValueError when there is none."""
        return self.declared[name] if name in self.declared else get_modality(name)


class Bootstrap(Record):
    """How intervals were made: percentiles at `level` of `resamples` draws of the `units` (patients or cases)."""

    resamples: int = Field(description="how often the units were drawn")
    seed: int = Field(description="seed of the draws")
    level: float = Field(description="share of the draws that the interval covers")
    units: int = Field(description="how many patients, or cases where patients are not known, were drawn from")


class EvaluationInfo(Record):
    """The scores of one model on one split. `confusion[i][j]` counts class i predicted as class j. `forgetting` is that
    of a line of models, which has no classes.

    Version 2 added `per_class`, `intervals` (by the names of `metrics`, and `score/CLASS`), `bootstrap` and
    `calibration`; records that do not tell their version are of version 1.
    """

    schema_version: Literal[1, 2] = 1
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = {}
    bootstrap: Bootstrap | None = None
    classes: list[str]
    per_class: list[dict[str, str | int | float | None]] = []
    confusion: list[list[int]] | None = None
    calibration: list[dict[str, float]] | None = None
    cases: list[dict[str, Any]] = []
    grid: Literal["original", "stored"] | None = Field(
        None, description="of segmenters: whether masks were scored on the grid that the images came on, or on that of "
        "the prepared samples, whose masks are resampled"
    )  # fmt: skip
    leakage: list[Leakage] = []
    forgetting: ForgettingInfo | None = None


class Draws(Record):
    """What the scores of an evaluation were in the draws that its intervals are made of: the file `draws.json`.

    Evaluations with the same `digest` (a SHA-256 over the cases and what they are drawn with), seed and number of draws
    have had the same cases in each draw. So the differences of their draws are those of a paired bootstrap.
    """

    schema_version: Literal[1] = 1
    digest: str
    seed: int
    resamples: int
    draws: dict[str, list[float | None]]

    def pairs_with(self, other: "Draws") -> bool:
        """True when every draw had the same cases in both."""
        return (self.digest, self.seed, self.resamples) == (other.digest, other.seed, other.resamples)


class IndexInfo(Record):
    """A version of an index: how many vectors it has, how wide they are, whose they are, and how it is searched."""

    level: Literal["study", "sample"]
    vectors: int
    width: int
    search: Literal["exact", "approximate"]
    datasets: dict[str, int] = Field(description="vectors of each dataset")
    modalities: list[str]
    projected: int = Field(0, description="studies in the 2-D projection")


class DeploymentInfo(Record):
    """A model as Triton serves it.

    `input_names` and `output_names` are those of the ONNX graph; `sample_shape` is one
    sample's input without the batch axis; `postprocess` is done to the masks of a segmenter. `max_difference` is that
    of Triton's answers to PyTorch's, and `golden` what was asked: samples of a dataset, or random ones.
    """

    name: str
    task: Literal["encoder", "classification", "segmentation"]
    modality: str
    kind: Kind
    triton_model: str
    version: int
    classes: list[str] | None = None
    sample_shape: list[int]
    recipe: dict[str, Any]
    findings: Any = None
    postprocess: Steps = ()
    input_names: list[str]
    output_names: list[str]
    max_difference: float | None = None
    tolerance: float = 1e-3
    precision: Literal["fp32", "fp16"] = "fp32"
    accelerator: Literal["none", "tensorrt"] = "none"
    backend: Literal["python", "onnxruntime"] = "python"
    opset: int = 18
    golden: Literal["dataset", "random"] = "random"
