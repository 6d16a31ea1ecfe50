"""Parameters of the recipe `image_folder`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import OR_DECLARED, ImageModality, PatientsByPath, Pixels, Splits


class ImageFolder(PatientsByPath):
    """Any folder of PNG, JPEG, TIFF or DICOM images, with class folders or mask files if there are any."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    expected: ClassVar[str] = "PNG, JPEG, TIFF or DICOM images"

    name: Literal["image_folder"] = documented("always image_folder", default="image_folder")
    modality: ImageModality = documented(
        "modality of the images: xray or pathology" + OR_DECLARED % "image2d", default="xray"
    )
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    labels: Literal["none", "folders"] = documented(
        "folders: the folder that directly holds an image is its class", default="none"
    )
    mask_suffix: str | None = documented(
        "file-name suffix (before the extension) that marks the mask of an image, e.g. '_mask'",
        default=None,
        max_length=32,
    )
    splits: Splits = documented("division into train, val and test", default=Splits())
