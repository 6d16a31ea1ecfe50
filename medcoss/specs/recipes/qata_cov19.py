"""Parameters of the recipe `qata_cov19`."""

from typing import ClassVar, Literal

from medcoss.specs.base import documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits


class QataCov19(RecipeSpec):
    """QaTa-COV19: radiographs with masks of COVID-19 pneumonia, in a training and a test set."""

    suffixes: ClassVar[tuple[str, ...]] = IMAGE_SUFFIXES
    expected: ClassVar[str] = "PNG radiographs and masks"

    name: Literal["qata_cov19"] = documented("always qata_cov19", default="qata_cov19")
    modality: Literal["xray"] = documented("always xray", default="xray")
    size: tuple[Pixels, Pixels] = documented("height and width after resizing", "pixel", default=(224, 224))
    splits: Splits = documented(
        "division of the training set; the test set stays whole, so its test_fraction is best 0",
        default=Splits(method="random", val_fraction=0.2, test_fraction=0.0),
    )
