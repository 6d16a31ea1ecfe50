"""Parameters of the recipe `deeplesion`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import RecipeSpec


class Deeplesion(RecipeSpec):
    """DeepLesion: CT slices as 16-bit PNG in a folder a series, and DL_info.csv."""

    suffixes: ClassVar[tuple[str, ...]] = (".png",)
    expected: ClassVar[str] = "16-bit PNG slices"

    name: Literal["deeplesion"] = documented("always deeplesion", default="deeplesion")
    modality: Literal["ct"] = documented("always ct", default="ct")
    published: bool = documented(
        "round, crop and align as the published code does, in-plane axes swapped; only to repeat published numbers",
        default=False,
    )
