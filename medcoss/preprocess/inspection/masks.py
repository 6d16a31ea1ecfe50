"""Which file is the mask of which image or volume, by their names and folders."""

import re
from collections.abc import Iterator

from medcoss.specs.names import VOLUME_SUFFIXES, has_suffix, stem_of

# names that masks are given: case_mask.png, case_seg.nii.gz, mask_case.png
_AFTER = re.compile(r"^(.+?)[-_ ](?:mask|masks|label|labels|seg|segmentation|anno|gt)$", re.I)
_BEFORE = re.compile(r"^mask[-_ ](.+)$", re.I)
# folders of masks, and the folders of their images
_FOLDERS = re.compile(r"^(?:masks?|labels?|ground[-_ ]?truths?|annotations?|segmentations?)$", re.I)
IMAGE_FOLDERS = ("images", "image", "imgs")
# left atrium challenge, LiTS
_PUBLISHED = (("laendo", "lgemri"), ("segmentation-", "volume-"))


def masks_of(paths: list[str]) -> tuple[dict[str, str], list[str]]:
    """The mask of each image or volume that has one, and what has the name of a mask and no image."""
    by_stem = {_stem(path): path for path in paths}
    lowered = {stem.lower(): path for stem, path in by_stem.items()}
    found: dict[str, str] = {}
    orphans: list[str] = []
    for stem, path in by_stem.items():
        folder, _, name = stem.rpartition("/")
        image = next((lowered[c.lower()] for c in _images(folder, name) if c.lower() in lowered), None)
        if image is not None and image != path:
            found[image] = path
        elif _AFTER.match(name) or _BEFORE.match(name) or folder.rpartition("/")[2] in ("labelsTr", "labelsTs"):
            orphans.append(path)
    return found, sorted(orphans)


def _images(folder: str, name: str) -> Iterator[str]:
    """Where the image of a mask would lie, without its ending, likeliest first; nothing when this is no mask."""
    above, slash, last = folder.rpartition("/")
    if last in ("labelsTr", "labelsTs"):
        yield f"{folder.replace('labelsT', 'imagesT')}/{name}_0000"
    match = _AFTER.match(name) or _BEFORE.match(name)
    names = [match[1], name] if match else [name]
    if _FOLDERS.match(last):
        yield from (f"{above}{slash}{images}/{one}" for images in IMAGE_FOLDERS for one in names)
    if match:
        yield f"{folder}/{match[1]}" if folder else match[1]
    for mask, image in _PUBLISHED:
        if name.lower().startswith(mask):
            other = image + name[len(mask) :]
            yield f"{folder}/{other}" if folder else other


def _stem(path: str) -> str:
    return stem_of(path) if has_suffix(path, VOLUME_SUFFIXES) else path[: path.rfind(".")]
