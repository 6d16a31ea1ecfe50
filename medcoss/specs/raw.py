"""Which files of a raw dataset the recipes read: recipes choose by these functions, and so do forecasts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from medcoss.specs.fit import Misfit
from medcoss.specs.preprocess import ImageFolder, OpeniReports, PreprocessOptions, VolumeFolder

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
EXPECTED = {
    "image_folder": "PNG, JPEG, TIFF or DICOM images",
    "volume_folder": "NIfTI, MHA or NRRD volumes",
    "openi_reports": "CSV tables of reports",
}


def has_suffix(path: str, suffixes: Sequence[str]) -> bool:
    """True when the path ends so, in upper or lower case."""
    return path.lower().endswith(tuple(suffixes))


def is_shown(path: str) -> bool:
    """False for hidden files and what lies in hidden folders: these are left out."""
    return not any(part.startswith(".") for part in PurePosixPath(path).parts)


def images_of(paths: Iterable[str], recipe: ImageFolder) -> list[str]:
    """The images of a folder, without masks."""
    images = [path for path in paths if has_suffix(path, IMAGE_SUFFIXES)]
    suffix = recipe.mask_suffix
    return images if not suffix else [p for p in images if not p[: p.rfind(".")].endswith(suffix)]


def mask_of(path: str, suffix: str, files: set[str]) -> str | None:
    """The mask beside an image, None when there is none."""
    stem = path[: path.rfind(".")] + suffix
    return next((stem + ending for ending in IMAGE_SUFFIXES if stem + ending in files), None)


def class_of(path: str) -> str | None:
    """The folder that directly holds an image is its class, None when that is no folder of a class."""
    folders = PurePosixPath(path).parts[:-1]
    return None if not folders or folders[-1].lower() in SPLIT_NAMES else folders[-1]


def stem_of(path: str) -> str:
    """A volume's path without its ending."""
    lowered = path.lower()
    ending = max((s for s in VOLUME_SUFFIXES if lowered.endswith(s)), key=len)
    return path[: -len(ending)]


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
    """Number of images, volumes or tables that a recipe reads."""
    recipe = options.recipe
    if isinstance(recipe, ImageFolder):
        return len(images_of(paths, recipe))
    if isinstance(recipe, VolumeFolder):
        found = volumes_of(paths, recipe)
        return len(found.volumes) + len(found.twice)
    return sum(path.lower().endswith(".csv") for path in paths)


def unusable(paths: Sequence[str], options: PreprocessOptions) -> Iterator[Misfit]:
    """Files that their names alone show to be missing, where the job would fail for them."""
    recipe, count = options.recipe, inputs_of(paths, options)
    if count == 0:
        found = f"only {', '.join(paths[:3])}" if paths else "nothing"
        yield Misfit(
            "dataset", f"the dataset holds no {EXPECTED[recipe.name]} for the recipe {recipe.name}; found {found}"
        )
        return
    if isinstance(recipe, OpeniReports):
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
