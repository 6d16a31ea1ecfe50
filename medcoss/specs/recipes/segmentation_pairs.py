"""Parameters of the recipe `segmentation_pairs`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import OR_DECLARED, ImageModality, PatientsByPath, Pixels, Splits


class SegmentationPairs(PatientsByPath):
    """Any images with masks: two folders side by side that hold files of the same names."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    expected: ClassVar[str] = "images in a folder images and masks in a folder masks beside it"

    name: Literal["segmentation_pairs"] = documented("always segmentation_pairs", default="segmentation_pairs")
    modality: ImageModality = documented(
        "modality of the images: xray or pathology" + OR_DECLARED % "image2d", default="xray"
    )
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    image_folder: str = documented("name of the folders with images", default="images", min_length=1, max_length=64)
    mask_folder: str = documented("name of the folders with masks", default="masks", min_length=1, max_length=64)
    mask_suffix: str = documented(
        "what the name of a mask has behind that of its image, before the extension, e.g. '_mask'",
        default="",
        max_length=32,
    )
    label_names: tuple[str, ...] = documented(
        "names of the mask values 1, 2, ...; with one name everything that is not black has it",
        default=("foreground",),
        min_length=1,
        max_length=64,
    )
    splits: Splits = documented("division into train, val and test", default=Splits())
