"""Parameters of the recipe `glas`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import Pixels, PublishedTestSet


class Glas(PublishedTestSet):
    """GlaS (Warwick QU): colon histology with outlines of every gland, and Grade.csv."""

    suffixes: ClassVar[tuple[str, ...]] = (".bmp",)
    expected: ClassVar[str] = "BMP images train_1.bmp with annotations train_1_anno.bmp"

    name: Literal["glas"] = documented("always glas", default="glas")
    modality: Literal["pathology"] = documented("always pathology", default="pathology")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(512, 512))
