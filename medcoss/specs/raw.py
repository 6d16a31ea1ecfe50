"""Which files of a raw dataset the recipes read: recipes choose by these functions, and so do forecasts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

from medcoss.specs.fit import Misfit
from medcoss.specs.names import ARCHIVE_SUFFIXES, IMAGE_SUFFIXES, VOLUME_SUFFIXES, class_of, has_suffix, stem_of
from medcoss.specs.preprocess import ImageFolder, PreprocessOptions, VolumeFolder
from medcoss.specs.recipes.chestxr import ChestXr
from medcoss.specs.recipes.labelled_image_folder import LabelledImageFolder
from medcoss.specs.recipes.mimic_cxr_images import MimicCxrImages
from medcoss.specs.recipes.nct_crc_he import NctCrcHe
from medcoss.specs.recipes.tcga import SLIDE_SUFFIXES, Tcga

# recipes that make one image of a file, or none
_IMAGE_A_FILE = (ChestXr, ImageFolder, LabelledImageFolder, MimicCxrImages, NctCrcHe, Tcga)


def images_of(paths: Iterable[str], recipe: ImageFolder) -> list[str]:
    """The images of a folder, without masks."""
    images = [path for path in paths if has_suffix(path, IMAGE_SUFFIXES)]
    suffix = recipe.mask_suffix
    return images if not suffix else [p for p in images if not p[: p.rfind(".")].endswith(suffix)]


def mask_of(path: str, suffix: str, files: set[str]) -> str | None:
    """The mask beside an image, None when there is none."""
    stem = path[: path.rfind(".")] + suffix
    return next((stem + ending for ending in IMAGE_SUFFIXES if stem + ending in files), None)


@dataclass(frozen=True)
class Volumes:
    """The volumes of a folder by their stems, the label map of each that has one, and volumes whose stem was taken."""

    volumes: dict[str, str]
    labels: dict[str, str]
    twice: list[str]


def volumes_of(paths: Iterable[str], recipe: VolumeFolder) -> Volumes:
    """Volumes and label maps of a folder; of two of the same stem the last one counts."""
    found = [path for path in paths if has_suffix(path, VOLUME_SUFFIXES)]
    volumes = {stem_of(path): path for path in found}
    twice = [path for path in found if volumes[stem_of(path)] != path]
    ending = recipe.label_suffix
    if not ending:
        return Volumes(volumes, {}, twice)
    labels = {stem.removesuffix(ending): path for stem, path in volumes.items() if stem.endswith(ending)}
    return Volumes({stem: path for stem, path in volumes.items() if not stem.endswith(ending)}, labels, twice)


def inputs_of(paths: Sequence[str], options: PreprocessOptions) -> int:
    """Number of images, volumes, tables or other files that a recipe reads, by their names."""
    recipe = options.recipe
    if isinstance(recipe, ImageFolder):
        return len(images_of(paths, recipe))
    if isinstance(recipe, VolumeFolder):
        found = volumes_of(paths, recipe)
        return len(found.volumes) + len(found.twice)
    return sum(has_suffix(path, recipe.suffixes) for path in paths)


def packed(paths: Iterable[str]) -> list[str]:
    """The archives, whose content is known once they are read."""
    return [path for path in paths if has_suffix(path, ARCHIVE_SUFFIXES)]


@dataclass(frozen=True)
class MostImages:
    """An upper bound of what a recipe makes: images, and the bytes (C, H, W) of each with its mask."""

    count: int
    shape: tuple[int, int, int]

    @property
    def total_bytes(self) -> int:
        """All of them before they are compressed."""
        return self.count * prod(self.shape)


def most_images(paths: Sequence[str], options: PreprocessOptions) -> MostImages | None:
    """What a recipe makes at most that makes one image of a file; None when the names of files cannot tell."""
    recipe = options.recipe
    if not isinstance(recipe, _IMAGE_A_FILE) or packed(paths):
        return None
    if isinstance(recipe, Tcga) and any(has_suffix(path, SLIDE_SUFFIXES) for path in paths):
        return None
    masks = isinstance(recipe, ImageFolder) and bool(recipe.mask_suffix)
    channels = recipe.shows.channels + masks
    return MostImages(inputs_of(paths, options), (channels, *recipe.size))


def unusable(paths: Sequence[str], options: PreprocessOptions) -> Iterator[Misfit]:
    """Files that their names alone show to be missing, where the job would fail for them."""
    if packed(paths):
        return
    recipe, count = options.recipe, inputs_of(paths, options)
    if count == 0:
        found = f"only {', '.join(paths[:3])}" if paths else "nothing"
        yield Misfit("dataset", f"the dataset holds no {recipe.expected} for the recipe {recipe.name}; found {found}")
        return
    if not isinstance(recipe, ImageFolder | VolumeFolder):
        return
    without, what = _without(paths, recipe)
    if len(without) / count > options.max_bad_fraction:
        yield Misfit(
            "dataset",
            f"{len(without)} of {count} inputs have no {what}, e.g. {without[0]}; max_bad_fraction allows "
            f"{options.max_bad_fraction:.0%}",
        )


def _without(paths: Sequence[str], recipe: ImageFolder | VolumeFolder) -> tuple[list[str], str]:
    """Inputs without the mask, the label map or the class that the recipe asks for."""
    if isinstance(recipe, VolumeFolder):
        found = volumes_of(paths, recipe)
        missing = [path for stem, path in found.volumes.items() if recipe.label_suffix and stem not in found.labels]
        return missing, f"label map with the suffix '{recipe.label_suffix}' beside them"
    images, known = images_of(paths, recipe), set(paths)
    if recipe.labels == "folders":
        return [path for path in images if class_of(path) is None], "class folder"
    suffix = recipe.mask_suffix
    missing = [path for path in images if suffix and mask_of(path, suffix, known) is None]
    return missing, f"mask with the suffix '{suffix}' beside them"
