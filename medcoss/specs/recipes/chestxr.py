"""Parameters of the recipe `chestxr`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import Pixels, RecipeSpec


class ChestXr(RecipeSpec):
    """ChestXR (COVID-19, pneumonia, normal): radiographs in train, validation and test folders with class folders."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    expected: ClassVar[str] = "PNG or JPEG radiographs"

    name: Literal["chestxr"] = documented("always chestxr", default="chestxr")
    modality: Literal["xray"] = documented("always xray", default="xray")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
