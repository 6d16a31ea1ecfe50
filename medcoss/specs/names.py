"""What the names of files in a raw dataset tell."""

from collections.abc import Sequence
from pathlib import PurePosixPath

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")
# longer ones first
ARCHIVE_SUFFIXES = (".tar.bz2", ".tar.gz", ".tar.xz", ".tbz2", ".tgz", ".txz", ".tar", ".zip")
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


def has_suffix(path: str, suffixes: Sequence[str]) -> bool:
    """True when the path ends so, in upper or lower case."""
    return path.lower().endswith(tuple(suffixes))


def archive_stem(path: str) -> str:
    """An archive's path without its ending."""
    return path[: -len(next(s for s in ARCHIVE_SUFFIXES if path.lower().endswith(s)))]


def is_shown(path: str) -> bool:
    """False for hidden files and what lies in hidden folders: these are left out."""
    return not any(part.startswith(".") for part in PurePosixPath(path).parts)


def class_of(path: str) -> str | None:
    """The folder that directly holds an image is its class, None when that is no folder of a class."""
    folders = PurePosixPath(path).parts[:-1]
    return None if not folders or folders[-1].lower() in SPLIT_NAMES else folders[-1]


def stem_of(path: str) -> str:
    """A volume's path without its ending."""
    lowered = path.lower()
    ending = max((s for s in VOLUME_SUFFIXES if lowered.endswith(s)), key=len)
    return path[: -len(ending)]
