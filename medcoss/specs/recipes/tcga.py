"""Parameters of the recipe `tcga`."""

from typing import ClassVar, Literal

from medcoss.specs.base import Seed, documented
from medcoss.specs.names import IMAGE_SUFFIXES
from medcoss.specs.recipes.base import Pixels, RecipeSpec, Splits

SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn", ".mrxs")


class Tcga(RecipeSpec):
    """TCGA histology: tiles in folders of patients, or whole-slide images, of which tiles are cut."""

    suffixes: ClassVar[tuple[str, ...]] = (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)
    expected: ClassVar[str] = "tiles (PNG, JPEG, TIFF) or whole-slide images (SVS, NDPI)"

    name: Literal["tcga"] = documented("always tcga", default="tcga")
    modality: Literal["pathology"] = documented("always pathology", default="pathology")
    size: tuple[Pixels, Pixels] = documented("height and width of a sample", "pixel", default=(224, 224))
    most_tiles: int = documented("tiles of a patient, drawn by the seed", "tile", default=100, ge=1, le=10000)
    tile_seed: Seed = documented("seed of the draw of tiles", default=0)
    magnification: float = documented("magnification at which slides are tiled", "x", default=20.0, gt=0.5, le=80)
    tissue: float = documented("least share of a tile of a slide that is tissue", "fraction", default=0.5, ge=0, le=1)
    published: bool = documented(
        "store the colours as blue, green, red, as the published code does; only to repeat published numbers",
        default=False,
    )
    splits: Splits = documented("division into train, val and test", default=Splits(method="random"))
