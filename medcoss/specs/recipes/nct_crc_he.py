"""Parameters of the recipe `nct_crc_he`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits


class NctCrcHe(RecipeSpec):
    """Colorectal cancer histology in nine classes: NCT-CRC-HE-100K to train, CRC-VAL-HE-7K to test."""

    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
    expected: ClassVar[str] = "TIFF tiles"

    name: Literal["nct_crc_he"] = documented("always nct_crc_he", default="nct_crc_he")
    modality: Literal["pathology"] = documented("always pathology", default="pathology")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    published: bool = documented(
        "store the colours as blue, green, red, as the published code does; only to repeat published numbers",
        default=False,
    )
    val_fraction: float = documented(
        "share of the tiles of the training set that goes to val, by the seed of the job",
        "fraction",
        default=0.0,
        ge=0,
        le=0.5,
    )

    @property
    def splits(self) -> Splits:
        """How what the published sets leave open is divided."""
        return Splits(method="random", val_fraction=self.val_fraction, test_fraction=0)
