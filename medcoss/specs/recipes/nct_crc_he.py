"""Parameters of the recipe `nct_crc_he`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import Pixels, PublishedTestSet


class NctCrcHe(PublishedTestSet):
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
