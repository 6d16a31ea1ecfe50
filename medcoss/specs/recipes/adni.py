"""Parameters of the recipe `adni`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import VOLUME_SUFFIXES
from medcoss.specs.recipes.base import RecipeSpec, Splits


class Adni(RecipeSpec):
    """ADNI: brain MR as downloaded, NIfTI volumes or DICOM series."""

    suffixes: ClassVar[tuple[str, ...]] = (*VOLUME_SUFFIXES, ".dcm")
    expected: ClassVar[str] = "NIfTI volumes or DICOM series"

    name: Literal["adni"] = documented("always adni", default="adni")
    modality: Literal["mr"] = documented("always mr", default="mr")
    published: bool = documented(
        "align and clip as the published code does, in-plane axes swapped; only to repeat published numbers",
        default=False,
    )
    splits: Splits = documented("division into train, val and test", default=Splits(method="random"))
