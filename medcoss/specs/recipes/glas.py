"""Parameters of the recipe `glas`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits


class Glas(RecipeSpec):
    """GlaS (Warwick QU): colon histology with outlines of every gland, and Grade.csv."""

    suffixes: ClassVar[tuple[str, ...]] = (".bmp",)
    expected: ClassVar[str] = "BMP images train_1.bmp with annotations train_1_anno.bmp"

    name: Literal["glas"] = documented("always glas", default="glas")
    modality: Literal["pathology"] = documented("always pathology", default="pathology")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(512, 512))
    val_fraction: float = documented(
        "share of the patients of the training set that goes to val, by the seed of the job",
        "fraction",
        default=0.0,
        ge=0,
        le=0.5,
    )

    @property
    def splits(self) -> Splits:
        """How what the published sets leave open is divided."""
        return Splits(method="random", val_fraction=self.val_fraction, test_fraction=0)
