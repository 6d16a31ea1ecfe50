"""A hospital's own PACS export.

Expected layout: DICOM files in any folders, by any names, with or without ending; DICOMDIR, viewers and texts beside
them are ignored. `ct` and `mr`: series are grouped by SeriesInstanceUID, slices sorted by their place; series with
gaps, mixed geometry or a single slice are refused; time points, echoes and b-values are volumes of their own;
localizers, screen captures, copies and other modalities are left out. `xray`: radiographs (CR, DX, RG), with the
window or VOI LUT applied and MONOCHROME1 inverted.

Samples: of CT float32 (1, 16, 192, 192), HU / 1024, made as those of DeepLesion; of MR float32 (1, 16, 192, 192),
z-scored, made as those of ADNI; of X-ray uint8 (1, 224, 224), grey. Only pixels leave the header: samples are named by
numbers, since exports name files by identifiers, and the patient is PatientID (else StudyInstanceUID), which is hashed.
Files whose header says that text is burned into the pixels are refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.modalities import Kind
from medcoss.preprocess.deidentify import deidentified_file, pseudonym
from medcoss.preprocess.dicom_items import KEY, dicom_files, item_of, planned_stacks, read_item
from medcoss.preprocess.dicom_series import Stack
from medcoss.preprocess.images import fitted_image
from medcoss.preprocess.io import read_image
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.tiling import ct_tiles, mr_volume_tiles
from medcoss.preprocess.volumes import Array
from medcoss.run import BadInput
from medcoss.specs.recipes.dicom_export import DicomExport

IMAGE, TILE = (1, 224, 224), (1, 16, 192, 192)
RADIOGRAPHS = ("CR", "DX", "RG")
_TAGS = ["PatientID", "StudyInstanceUID", "SOPInstanceUID", "Modality", "BurnedInAnnotation", "Rows"]
_BURNED_IN = "its header says that text is burned into the pixels (BurnedInAnnotation); have it masked first"


@dataclass(frozen=True)
class _Header:
    """What is needed of a file; nothing of it is written but the modality."""

    patient: str
    instance: str
    modality: str
    burned_in: bool
    has_image: bool


def describe(spec: DicomExport) -> Described:
    """Images of X-ray, tiles of CT and MR."""
    kind, shape = (Kind.IMAGE2D, IMAGE) if spec.modality == "xray" else (Kind.VOLUME3D, TILE)
    return Described(kind, shape, cohort=spec.cohort)


def plan(spec: DicomExport, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every radiograph, or for every volume."""
    yield from _radiographs(spec, raw) if spec.modality == "xray" else _volumes(spec, raw)


def make(spec: DicomExport, item: Item, raw: Raw) -> Iterator[Made]:
    """One radiograph, or the tiles of one volume."""
    path = item.files[0]
    if spec.modality == "xray":
        yield Made(fitted(read_image(deidentified_file(raw.read(path), KEY, path), path), spec))
        return
    image = read_item(item, raw)
    tiles = ct_tiles(image) if spec.modality == "ct" else mr_volume_tiles(image)
    if not tiles:
        raise LeftOut(path, "the volume is 12 mm thick or less, too little for a tile")
    for tile in tiles:
        yield Made(tile.voxels, offset=tile.offset, slices=tile.slices, spacing=tile.spacing)


def fitted(image: NDArray[np.uint8], spec: DicomExport) -> NDArray[np.uint8]:
    """Grey, uint8 (1, 224, 224), bicubic; serving does the same."""
    return fitted_image(image, IMAGE[1:], IMAGE[0])


def tiled_image(image: sitk.Image, spec: DicomExport) -> tuple[list[int], list[Array]]:
    """First slices and tiles (1, 16, 192, 192) of a CT or MR volume in LPS order; serving does the same.

    Those of CT count on its grid of 1 mm.
    """
    tiles = ct_tiles(image) if spec.modality == "ct" else mr_volume_tiles(image)
    return [tile.offset for tile in tiles], [tile.voxels for tile in tiles]


def _volumes(spec: DicomExport, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    number = 0
    for found in planned_stacks(raw, spec.modality.upper()):
        if not isinstance(found, Stack):
            yield found
            continue
        path = found.slices[0].path
        header = _header(raw, path)
        if header.burned_in:
            yield Rejected(path, _BURNED_IN)
            continue
        number += 1
        yield item_of(found, f"volume {number:06}", header.patient or None, _split(path, spec))


def _radiographs(spec: DicomExport, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    seen, number = set[str](), 0
    for path in dicom_files(raw):
        try:
            header = _header(raw, path)
        except BadInput as error:
            yield Rejected(path, error.message)
            continue
        instance = pseudonym(header.instance, KEY)
        if header.modality not in RADIOGRAPHS or not header.has_image:
            yield LeftOut(path, f"no radiograph; expected an image of the modality {' or '.join(RADIOGRAPHS)}")
        elif header.burned_in:
            yield Rejected(path, _BURNED_IN)
        elif instance in seen:
            yield LeftOut(path, "a copy of a file that counts already (same SOPInstanceUID)")
        else:
            seen.add(instance)
            number += 1
            yield Item(f"image {number:06}", (path,), patient=header.patient or None, split=_split(path, spec))


def _split(path: str, spec: DicomExport) -> str | None:
    return folder_split(path) if spec.splits.method == "folders" else None


def _header(raw: Raw, path: str) -> _Header:
    try:
        found = pydicom.dcmread(raw.path(path), stop_before_pixels=True, specific_tags=_TAGS)
        text = {tag: str(found.get(tag) or "").strip() for tag in _TAGS}
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(f"this is no readable DICOM file ({type(error).__name__})", path) from None
    return _Header(text["PatientID"] or text["StudyInstanceUID"], text["SOPInstanceUID"], text["Modality"],
                   text["BurnedInAnnotation"].upper() == "YES", bool(text["Rows"]))  # fmt: skip
