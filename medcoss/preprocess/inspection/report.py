"""The report of an inspection, as it stands in `report.json`."""

from typing import Literal

from pydantic import Field

from medcoss.preprocess.inspection.histogram import Histogram
from medcoss.specs.records import BadFile, Record


class Warned(Record):
    """Something odd. `code` tells its kind, `where` are a few of the files, splits or classes that it is about."""

    code: str
    detail: str = Field(description="what was found, and how much of it")
    advice: str = Field(description="what to do about it")
    count: int = Field(1, description="how many cases there are")
    where: list[str] = Field([], description="some of the files, splits or classes that it is about")


class Range(Record):
    """Spread of a number over the samples."""

    minimum: float
    median: float
    maximum: float


class Intensities(Record):
    """Values of pixels or voxels; `counts[i]` of them lie in `[start + i * width, start + (i + 1) * width)`."""

    values: int
    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: dict[str, float]
    start: float
    width: float
    counts: list[int]

    @classmethod
    def of(cls, found: Histogram) -> "Intensities | None":
        """What a histogram tells; None when there are no values."""
        if not found.number:
            return None
        return cls(
            values=found.number, minimum=found.low, maximum=found.high, mean=found.mean, std=found.std,
            percentiles={f"{p:g}": found.percentile(p) for p in (0.5, 5, 25, 50, 75, 95, 99.5)},
            start=found.start * found.width, width=found.width, counts=found.counts,
        )  # fmt: skip


class Texts(Record):
    """Reports by numbers alone: their words are not shown, they may name patients."""

    reports: int
    empty: int
    words: Range | None = None
    characters: Range | None = None
    vocabulary: int = Field(0, description="number of different words, in lower case")


class Shown(Record):
    """A drawn sample, as the sample browser shows it; shapes and spacings are (z, y, x) or (y, x)."""

    key: str = Field(description="its id in a prepared dataset, or its file")
    source: str = Field("", description="the file that it was made of, where that is known")
    split: str = ""
    label: str | None = Field(None, description="its class")
    kind: Literal["volume", "image", "text"] | None = Field(None, description="None when it could not be read")
    shape: list[int] = Field([], description="as it is in the dataset, in pixels or voxels")
    spacing: list[float] = Field([], description="as it is in the dataset, in mm; empty when it is not known")
    shown: list[int] = Field([], description="shape of the file `image`, which may be coarser")
    window: list[float] = Field([], description="values of the file `image` from black to white")
    image: str | None = Field(None, description="the artifact with its voxels (NIfTI) or pixels (PNG)")
    mask: str | None = Field(None, description="the artifact with its labels, on the grid of `image`")
    labels: dict[str, str] = Field({}, description="what the values in `mask` mean, where that is known")
    text: str | None = Field(None, description="the words of a report")
    problem: str = Field("", description="why it, or a part of it, is not shown")


class Samples(Record):
    """What the sample browser has, as it stands in `samples.json`."""

    source: str = Field(description="raw or prepared")
    of: int = Field(description="samples from which they were drawn")
    seed: int
    samples: list[Shown]


class Report(Record):
    """What a dataset holds. `classes[split][class]` counts samples; spacings are (z, y, x) in mm, pixels (y, x)."""

    source: str = Field(description="raw or prepared")
    modality: str | None
    samples: int
    files: dict[str, int] = Field({}, description="files of a raw dataset by what their names and bytes tell they are")
    splits: dict[str, int]
    classes: dict[str, dict[str, int]] = Field({}, description="samples of each class of each split")
    patients: dict[str, int] = Field({}, description="different patients of each split, where they are known")
    shapes: dict[str, int] = Field(description="the most frequent shapes and their numbers of samples")
    size: list[Range] = Field([], description="spread of every axis, in pixels or voxels, of samples with most axes")
    channels: dict[str, int] = Field({}, description="samples by number of channels")
    types: dict[str, int] = Field({}, description="how values are stored")
    spacing: list[Range] = Field([], description="spread of the spacing on every axis in mm")
    target_spacing: list[float] | None = Field(None, description="nnU-Net's target spacing of the volumes in mm")
    intensities: dict[str, Intensities] = Field({}, description="by split")
    foreground: Intensities | None = Field(None, description="of voxels with a label, as in nnU-Net's fingerprint")
    masks: int = Field(0, description="samples with a label map or a mask")
    label_voxels: dict[str, int] = Field({}, description="voxels of every label value")
    texts: Texts | None = None
    unreadable: list[BadFile] = Field([], description="files that cannot be read")
    left_out: list[BadFile] = Field([], description="DICOM files that hold no image for training")
    warnings: list[Warned] = Field([], description="what is odd")
    pictures: list[str] = Field([], description="names of the pictures")
