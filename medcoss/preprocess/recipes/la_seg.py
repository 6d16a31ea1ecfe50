"""2018 Left Atrium segmentation challenge, enhanced MR (Xiong et al. 2020, http://atriaseg2018.cardiacatlas.org).

Expected layout, at any depth: `Training Set/<case>/lgemri.nrrd` with `laendo.nrrd` (0 and 255), and the same in
`Testing Set`, as the challenge hands it out; `<case>/mri_norm2.h5` with `image` and `label` (x, y, z), as UA-MT does;
or NIfTI pairs `<case>.nii.gz` and `<case>_label.nii.gz`. `train.list`, `val.list` and `test.list` with a case a line
give the splits. Of the other cases those of `Testing Set` are test, and those of `Training Set` train where there is a
`Testing Set`; the rest is divided by the seed. A case is a patient. The outlines of the atrium's wall are left out, and
so are test cases without outlines.

Samples are float32 (1, 16, 192, 192), LPS, with a mask uint8 (1, 16, 192, 192) of the left atrium: slices resized to
192 x 192 (linear, masks nearest), tiles of 16 slices every 8 over the whole volume, clipped to their 0.2 and 99.8
percentiles and z-scored. The h5 files say nothing of the spacing: it is the challenge's, 0.625 mm.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import h5py
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.io import MOST_VOXELS, read_volume
from medcoss.preprocess.label_maps import read_label_map
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.recipes import volume_folder
from medcoss.preprocess.volumes import Array, labelled_original, mask_tiles_of, to_lps
from medcoss.run import BadInput
from medcoss.specs.names import stem_of
from medcoss.specs.recipes.la_seg import LaSeg
from medcoss.specs.recipes.volume_folder import VolumeFolder

H5_SUFFIX, SPACING_MM = ".h5", 0.625
ATRIUM, LABEL_SUFFIX = "left_atrium", "_label"
IMAGE, OUTLINES, NRRD_SUFFIX, INSIDE = "lgemri.nrrd", "laendo.nrrd", ".nrrd", 255
_LISTS = {"train.list": "train", "val.list": "val", "test.list": "test"}
_SET = re.compile(r"(training|testing)[ _]?set", re.I)


def describe(spec: LaSeg) -> Described:
    """Tiles with one mask channel."""
    return Described(Kind.VOLUME3D, (1, *spec.size), classes=(ATRIUM,), has_masks=True)


def plan(spec: LaSeg, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every case of the challenge, every h5 file and every NIfTI pair."""
    splits = _published_splits(raw)
    for path in raw.files((H5_SUFFIX,)):
        case = PurePosixPath(path).parent.name or PurePosixPath(path).stem
        yield Item(path, (path,), patient=case, split=splits.get(case))
    yield from _challenge_cases(raw, splits)
    for found in volume_folder.plan(_as_volumes(spec), raw):
        if _is_of_challenge(found.name if isinstance(found, Item) else found.path, raw):
            continue
        if isinstance(found, Item):
            case = PurePosixPath(stem_of(found.name)).name
            found = replace(found, patient=case, split=splits.get(case))
        yield found


def make(spec: LaSeg, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one case."""
    path = item.files[0]
    if path.lower().endswith(H5_SUFFIX):
        volume, labels = read_h5(raw.read(path), path)
        voxel = (SPACING_MM, SPACING_MM, SPACING_MM)
    elif _is_of_challenge(path, raw):
        volume, labels, voxel = _read_challenge(raw, *item.files)
    else:
        yield from volume_folder.make(_as_volumes(spec), item, raw)
        return
    starts, tiles = tiled(volume, spec)
    masks = mask_tiles_of(labels, 1, _as_volumes(spec))
    depth, height, width = volume.shape
    spacing = (voxel[0], voxel[1] * height / spec.size[1], voxel[2] * width / spec.size[2])
    own = labelled_original(labels, 1, voxel, spec.size)
    for start, tile, mask in zip(starts, tiles, masks, strict=True):
        yield Made(tile, mask, offset=start, slices=depth, spacing=spacing, original=None if start else own)


def tiled(volume: Array, spec: LaSeg) -> tuple[list[int], list[Array]]:
    """First slices and tiles (1, D, H, W) of a volume (z, y, x) in LPS order; serving does the same."""
    return volume_folder.tiled(volume, _as_volumes(spec))


def read_h5(data: bytes, path: str) -> tuple[Array, NDArray[np.uint8]]:
    """Volume, float32, and labels 0 and 1, uint8, of an h5 file, both turned from (x, y, z) to (z, y, x).

    Raises BadInput naming `path`.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            image, label = (_voxels(file, key, path) for key in ("image", "label"))
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - h5py raises many types on damaged files
        raise BadInput(f"the h5 file is damaged or truncated ({type(error).__name__}); copy it again", path) from None
    if image.shape != label.shape:
        raise BadInput(f"label has {label.shape} voxels, image {image.shape}; expected the same", path)
    if not np.isfinite(image).all():
        raise BadInput("the volume holds NaN or infinite values; replace them", path)
    if not np.isin(label, (0, 1)).all():
        raise BadInput("label holds other values than 0 and 1 (left atrium)", path)
    return np.ascontiguousarray(image.T, np.float32), np.ascontiguousarray(label.T, np.uint8)


def _challenge_cases(raw: Raw, splits: dict[str, str]) -> Iterator[Item | Rejected | LeftOut]:
    paths = [path for path in raw.files((NRRD_SUFFIX,)) if _is_of_challenge(path, raw)]
    sets = {_set_of(path) for path in paths}
    for path in paths:
        place, of_set = PurePosixPath(path), _set_of(path)
        case = place.parent.name or place.stem
        image, outlines = str(place.with_name(IMAGE)), str(place.with_name(OUTLINES))
        if place.name == OUTLINES:
            if not raw.has(image):
                yield Rejected(path, f"there is no {IMAGE} beside it; expected both in the folder of a case")
        elif place.name != IMAGE:
            yield LeftOut(path, f"not needed: the atrium is in {OUTLINES}")
        elif raw.has(outlines):
            published = of_set if "test" in sets else None
            yield Item(path, (path, outlines), patient=case, split=splits.get(case) or published)
        elif of_set == "test":
            yield LeftOut(path, f"a test case without outlines: there is no {OUTLINES} beside it")
        else:
            yield Rejected(path, f"there is no {OUTLINES} beside it; expected both in the folder of a case")


def _is_of_challenge(path: str, raw: Raw) -> bool:
    """True for what lies in the folder of a case as the challenge names its files."""
    place = PurePosixPath(path)
    return place.name in (IMAGE, OUTLINES) or (place.suffix == NRRD_SUFFIX and raw.has(str(place.with_name(IMAGE))))


def _set_of(path: str) -> str | None:
    """train or test after the folder of the challenge that a file lies in, None in another."""
    for part in PurePosixPath(path).parts[:-1]:
        if found := _SET.search(part):
            return {"training": "train", "testing": "test"}[found[1].lower()]
    return None


def _read_challenge(raw: Raw, path: str, outlines: str) -> tuple[Array, NDArray[np.uint8], tuple[float, float, float]]:
    """Volume and labels 0 and 1 (z, y, x) in LPS order, and the size of a voxel in mm (z, y, x). Raises BadInput."""
    image = read_volume(raw.read(path), path)
    labels = read_label_map(raw, outlines, image, INSIDE)
    other = np.setdiff1d(labels, (0, 1, INSIDE))
    if other.size:
        told = ", ".join(map(str, other[:8]))
        raise BadInput(f"the label map holds the values {told}; expected 0 and {INSIDE} (left atrium)", outlines)
    oriented = to_lps(image)
    x, y, z = oriented.GetSpacing()
    return sitk.GetArrayFromImage(oriented).astype(np.float32), (labels > 0).astype(np.uint8), (z, y, x)


def _voxels(file: Any, key: str, path: str) -> NDArray[Any]:
    # links and external storage could lead to other files of this machine
    found = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise BadInput(f"there is no dataset '{key}' in it; expected image and label", path)
    if found.ndim != 3 or found.dtype.kind not in "fiub" or not 0 < found.size <= MOST_VOXELS:
        raise BadInput(f"'{key}' has shape {found.shape} and type {found.dtype}; expected numbers (x, y, z)", path)
    return np.asarray(found[()])


def _published_splits(raw: Raw) -> dict[str, str]:
    """The split of each case that a list names. Raises BadInput for a case of several."""
    splits: dict[str, str] = {}
    for path in raw.files(tuple(_LISTS)):
        split = _LISTS.get(PurePosixPath(path).name)
        for line in raw.read(path).decode("utf-8", "replace").split() if split else ():
            if splits.setdefault(line, str(split)) != split:
                raise BadInput(f"the case {line} stands in both {splits[line]}.list and {split}.list", path)
    return splits


def _as_volumes(spec: LaSeg) -> VolumeFolder:
    return VolumeFolder(modality="mr", size=spec.size, stride=spec.stride, label_suffix=LABEL_SUFFIX,
                        label_names=(ATRIUM,), splits=spec.splits)  # fmt: skip
