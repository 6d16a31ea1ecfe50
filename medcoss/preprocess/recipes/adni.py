"""ADNI: brain MR of Alzheimer's disease (https://adni.loni.usc.edu, by application).

Expected layout, at any depth, as the archive is unpacked:
`ADNI/<subject, 002_S_0295>/<description>/<date>/<image id, I40966>/*.nii` or `*.dcm`. The subject in a path is the
patient; without one the content of a volume (of its first slice) stands for its patient.

Samples are float32 (1, 16, 192, 192): slices resized to 192 x 192 (linear), the outer 10 % at both ends left out,
tiles of 16 slices every 8, each clipped to its 0.2 and 99.8 percentiles and z-scored.
"""

import re
from collections.abc import Iterator

import SimpleITK as sitk

from medcoss.modalities import Kind
from medcoss.preprocess.dicom_items import item_of, planned_stacks, read_item
from medcoss.preprocess.dicom_series import Stack
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.tiling import mr_volume_tiles
from medcoss.preprocess.volumes import Array
from medcoss.specs.names import VOLUME_SUFFIXES, has_suffix
from medcoss.specs.recipes.adni import Adni

_SUBJECT = re.compile(r"(?<!\d)\d{3}_S_\d{4,5}(?!\d)")


def describe(spec: Adni) -> Described:
    """Tiles of volumes."""
    return Described(Kind.VOLUME3D, (1, 16, 192, 192))


def plan(spec: Adni, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume file and every volume of a DICOM series."""
    for path in raw.files(VOLUME_SUFFIXES):
        yield Item(path, (path,), patient=_subject(path), split=_split(path, spec))
    for found in planned_stacks(raw, "MR"):
        if isinstance(found, Stack):
            path = found.slices[0].path
            name = f"{path} {found.time}".strip()
            yield item_of(found, name, _subject(path), _split(path, spec))
        else:
            yield found


def make(spec: Adni, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one volume."""
    path = item.files[0]
    image = read_volume(raw.read(path), path) if has_suffix(path, VOLUME_SUFFIXES) else read_item(item, raw)
    for tile in mr_volume_tiles(image, spec.published):
        yield Made(tile.voxels, offset=tile.offset, slices=tile.slices, spacing=tile.spacing)


def tiled(volume: Array, spec: Adni) -> tuple[list[int], list[Array]]:
    """First slices and tiles (1, 16, 192, 192) of a volume (z, y, x) in LPS order; serving does the same."""
    tiles = mr_volume_tiles(sitk.GetImageFromArray(volume), spec.published)
    return [tile.offset for tile in tiles], [tile.voxels for tile in tiles]


def _subject(path: str) -> str | None:
    found = _SUBJECT.search(path)
    return found[0] if found else None


def _split(path: str, spec: Adni) -> str | None:
    return folder_split(path) if spec.splits.method == "folders" else None
