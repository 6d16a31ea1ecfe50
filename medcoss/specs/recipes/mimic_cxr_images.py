"""Parameters of the recipe `mimic_cxr_images`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.recipes.base import Pixels, RecipeSpec


class MimicCxrImages(RecipeSpec):
    """Frontal radiographs of MIMIC-CXR (DICOM) or MIMIC-CXR-JPG, with the split and metadata tables of the latter."""

    suffixes: ClassVar[tuple[str, ...]] = (".jpg", ".jpeg", ".png", ".dcm")
    expected: ClassVar[str] = "JPEG, PNG or DICOM radiographs"

    name: Literal["mimic_cxr_images"] = documented("always mimic_cxr_images", default="mimic_cxr_images")
    modality: Literal["xray"] = documented("always xray", default="xray")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
