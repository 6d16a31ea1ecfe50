"""Parameters of the recipe `ricord`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import VOLUME_SUFFIXES
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits


class Ricord(RecipeSpec):
    """MIDRC-RICORD: chest CT with COVID-19 (1A) and without (1B), as NIfTI; the published split lists are followed."""

    suffixes: ClassVar[tuple[str, ...]] = VOLUME_SUFFIXES
    expected: ClassVar[str] = "NIfTI volumes in MIDRC-RICORD-1A and MIDRC-RICORD-1B"

    name: Literal["ricord"] = documented("always ricord", default="ricord")
    modality: Literal["ct"] = documented("always ct", default="ct")
    size: tuple[Pixels, Pixels, Pixels] = documented(
        "depth, height and width that a whole volume is resized to", "voxel", default=(64, 192, 192)
    )
    splits: Splits = documented(
        "division into train, val and test where RICORD_train.txt, RICORD_val.txt and RICORD_test.txt are not there; "
        "patients stay whole",
        default=Splits(method="random"),
    )
    published: bool = documented(
        "resize as the published code does (first voxels aligned, fractions cut off, in-plane axes swapped, axes as "
        "they come); only to repeat published numbers",
        default=False,
    )
