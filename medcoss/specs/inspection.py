"""Parameters of `inspect_dataset` jobs: what a dataset holds, and what is odd about it."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from medcoss.modalities import get_modality
from medcoss.specs.base import DatasetRef, Seed, Spec, documented
from medcoss.specs.recipes.base import RecipeSpec


def _known(name: str | None) -> str | None:
    if name is not None:
        get_modality(name)
    return name


class InspectOptions(Spec):
    """What is asked of an inspection: every parameter but the input."""

    modality: Annotated[str | None, AfterValidator(_known)] = documented(
        "what the files of a raw dataset are: decides about the window of pictures and the range of intensities; DICOM "
        "series and prepared datasets tell it themselves; null: what the dataset was uploaded as",
        default=None,
    )
    labels: Literal["folders", "none"] = documented(
        "folders: the folder that holds an image is its class, if such folders hold two images or more on average; "
        "none: images have no classes",
        default="folders",
    )
    spacing_factor: float = documented(
        "a warning when the largest spacing of an axis is more than this times the smallest",
        "factor",
        default=1.5,
        ge=1,
        le=100,
    )
    imbalance: float = documented(
        "a warning when the largest class of a split has more than this times the samples of the smallest",
        "factor",
        default=10.0,
        ge=1,
        le=10_000,
    )
    few_samples: int = documented(
        "a warning for splits and classes with fewer", "sample", default=10, ge=1, le=1_000_000
    )
    pictures: int = documented("samples in the montage, of each class of a split", "sample", default=8, ge=0, le=32)
    samples: int = documented(
        "samples of which pixels or words are kept for the sample browser of the console, drawn evenly from all "
        "classes of all splits; 0: none. Of raw data only those that a browser cannot open itself",
        "sample",
        default=48,
        ge=0,
        le=200,
    )
    seed: Seed = documented("seed of the draws of samples for the montage and the sample browser", default=0)


class _InspectInputs(Spec):
    dataset: DatasetRef = documented("raw or prepared dataset, or rehearsal buffer, to look at")


class InspectDatasetSpec(InspectOptions, _InspectInputs):
    """Describe a raw or prepared dataset: counts, shapes, spacings, intensities, classes, pictures and warnings."""


class Measuring(RecipeSpec):
    """How the processes of the preprocessing engine measure one file: a survey, of which nothing is stored."""

    name: Literal["inspection"] = "inspection"
    modality: str = ""
    # where the files of drawn samples go
    folder: str = ""

    @property
    def implementation(self) -> str:
        """The module with `survey`."""
        return "medcoss.preprocess.inspection.measure"
