"""Vestibular-Schwannoma-SEG: MR of vestibular schwannoma (Shapey et al., Scientific Data 2021, TCIA, CC BY 4.0).

Expected layout, at any depth: the DICOM files as TCIA hands them out, `VS-SEG-001/<study>/<series>/*.dcm`, T1 or T2 (by
SeriesDescription, else by the structure set), with the RTSTRUCT files that refer to them, whose TV is the tumour;
or `vs_gk_1/vs_gk_t1_refT1.nii.gz` and `vs_gk_1/vs_gk_seg_refT1.nii.gz` (for T2
`vs_gk_t2_refT2.nii.gz` and `vs_gk_seg_refT2.nii.gz`), as the converter of the publishers makes them of the DICOM files;
or of nnU-Net `imagesTr/vs_gk_1_0000.nii.gz` and `labelsTr/vs_gk_1.nii.gz`. Labels are 0 and 1, the tumour. The name of
the case, or PatientID, is the patient; a fifth of them are the test set.

By the rules of nnU-Net's first version: axes nearest to LPS, cut to what is not zero, resampled to the median spacing
of the training cases, cubic, z-scored by itself. Samples are tiles, float32 (1, 16, 512, 512) by default, a whole
slice each, padded by the lowest value of the volume (by 0 where only the head is normalised), with a mask uint8
(1, D, H, W).
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk

from medcoss.data.originals import Placement
from medcoss.modalities import Kind
from medcoss.preprocess.dicom_items import KEY, dicom_files, item_of, planned_stacks, read_item
from medcoss.preprocess.dicom_series import Stack
from medcoss.preprocess.nnunet import Array, median_spacing, normalise_case
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.rtstruct import StructureSet, rasterised, read_contours, read_structure_set
from medcoss.preprocess.segmentation import (
    Case,
    Resampled,
    case_of,
    original,
    read_case,
    recorded,
    resampled,
    tiles,
    whole,
)
from medcoss.preprocess.volumes import to_lps
from medcoss.run import BadInput
from medcoss.specs.recipes.vs_seg import VsSeg

_NIFTI = (".nii", ".nii.gz")
_SEQUENCE = re.compile(r"(?<![a-z0-9])(t[12])(?!\d)", re.I)
_TUMOUR = re.compile(r"\W*tv(?![a-z]).*", re.I)
_ENDING = r"\.nii(?:\.gz)?"
_IMAGE = re.compile(rf"vs_gk_(t[12])_ref(T[12])({_ENDING})")
_LABELS = re.compile(rf"vs_gk_seg_refT[12]{_ENDING}")
_NNUNET = re.compile(rf"(.+)_0000({_ENDING})")


def describe(spec: VsSeg) -> Described:
    """Tiles with one mask channel."""
    return Described(Kind.VOLUME3D, (1, *spec.size), classes=("tumour",), has_masks=True)


def plan(spec: VsSeg, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume and every outlined DICOM series of the sequence."""
    yield from _dicom_cases(spec, raw)
    for path in raw.files(_NIFTI):
        place = PurePosixPath(path)
        folder, name = place.parent, place.name
        image, nnunet = _IMAGE.fullmatch(name), _NNUNET.fullmatch(name)
        if folder.name == "imagesTr" and nnunet:
            yield _item(path, f"{folder.parent / 'labelsTr' / nnunet[1]}{nnunet[2]}", nnunet[1], raw)
        elif folder.name == "labelsTr" or _LABELS.fullmatch(name):
            continue
        elif image is None or not folder.name:
            yield Rejected(
                path, "expected DICOM, vs_gk_1/vs_gk_t1_refT1.nii.gz, or imagesTr/vs_gk_1_0000.nii.gz of nnU-Net"
            )
        elif image[1].upper() != spec.sequence or image[2] != spec.sequence:
            yield LeftOut(path, f"not a {spec.sequence} volume on its own grid")
        else:
            yield _item(path, f"{folder}/vs_gk_seg_ref{spec.sequence}{image[3]}", folder.name, raw)


def survey(_spec: VsSeg, item: Item, raw: Raw) -> Any:
    """Spacing in mm and voxels (z, y, x) of the cut case."""
    case = _case(item, raw)
    return {"spacing": case.spacing, "shape": case.cut.volume.shape}


def conclude(_spec: VsSeg, surveyed: Iterator[tuple[Item, Any]]) -> Any:
    """The spacing of all samples in mm (z, y, x). Raises BadInput without training cases."""
    cases = [found for item, found in surveyed if found is not None and item.split == "train"]
    if not cases:
        raise BadInput("no training case could be read, whose spacings are needed; see the report", "dataset")
    return median_spacing(*(np.array([case[key] for case in cases]) for key in ("spacing", "shape")))


def make(spec: VsSeg, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one volume."""
    read = _case(item, raw)
    case = resampled(read, tuple(raw.findings))
    volume, fill = _normalised(case)
    masks = (case.labels == 1).astype(np.uint8)[None]
    own = original(read, read.labels[None] == 1, volume.shape)
    yield from tiles(volume, masks, case.spacing, spec, fill, item.name, own)


def served(image: sitk.Image, spec: VsSeg, findings: Any) -> tuple[Array, Placement]:
    """What tiles are cut of, (1, D, H, W), of a volume in LPS order, and where it lies; serving slides over it."""
    return whole(image, tuple(recorded(findings)), spec.size, _normalised)


def _normalised(case: Resampled) -> tuple[Array, float]:
    """Intensities, and the value that slices are padded with."""
    volume = normalise_case(case.volume, case.mask)
    return volume, float(volume.min()) if case.mask is None else 0.0


def _case(item: Item, raw: Raw) -> Case:
    """The case of a NIfTI pair, or of a DICOM series and its structure set, the last file."""
    *slices, last = item.files
    if last.lower().endswith(_NIFTI):
        return read_case(raw, item.files, 1)
    image = read_item(replace(item, files=tuple(slices)), raw)
    structures = read_structure_set(raw.path(last), last, KEY)
    names = [name for name in structures.names if _TUMOUR.fullmatch(name)] if structures else []
    labels = sitk.GetImageFromArray(rasterised(read_contours(raw.path(last), last, names), image, last))
    labels.CopyInformation(image)
    return case_of(image, sitk.GetArrayFromImage(to_lps(labels)))


def _dicom_cases(spec: VsSeg, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every DICOM series of the sequence that a structure set outlines."""
    images: list[str] = []
    outlined: dict[str, list[StructureSet]] = defaultdict(list)
    for path in dicom_files(raw):
        try:
            structures = read_structure_set(raw.path(path), path, KEY)
        except BadInput as error:
            yield Rejected(path, error.message)
            continue
        if structures is None:
            images.append(path)
        else:
            outlined[structures.series].append(structures)
    for found in planned_stacks(raw, "MR", images):
        yield (
            _dicom_item(found, outlined.pop(found.slices[0].series, []), spec, raw)
            if isinstance(found, Stack)
            else found
        )
    for structures in (one for several in outlined.values() for one in several):
        yield Rejected(structures.path, "the series that it outlines is not in the dataset, or cannot be used")


def _dicom_item(stack: Stack, outlines: list[StructureSet], spec: VsSeg, raw: Raw) -> Item | Rejected | LeftOut:
    path = stack.slices[0].path
    header = pydicom.dcmread(raw.path(path), stop_before_pixels=True, specific_tags=["PatientID", "SeriesDescription"])
    told = [str(header.get("SeriesDescription", "")), *(one.description for one in outlines)]
    sequence = next((found[1].upper() for found in map(_SEQUENCE.search, told) if found), None)
    if sequence is None:
        return Rejected(path, "its SeriesDescription tells neither T1 nor T2")
    if sequence != spec.sequence:
        return LeftOut(path, f"not a {spec.sequence} series")
    if len(outlines) != 1:
        return Rejected(path, f"{len(outlines)} RTSTRUCT files refer to its series; expected one")
    if not any(map(_TUMOUR.fullmatch, outlines[0].names)):
        return Rejected(
            outlines[0].path,
            f"none of its {len(outlines[0].names)} structures is called TV; expected the tumour by that name",
        )
    item = item_of(
        stack, f"{PurePosixPath(path).parent} {stack.time}".strip(), str(header.get("PatientID") or "") or None, None
    )
    return replace(item, files=(*item.files, outlines[0].path))


def _item(path: str, labels: str, patient: str, raw: Raw) -> Item | Rejected:
    if not raw.has(labels):
        return Rejected(path, f"there is no label map {labels}")
    return Item(path, (path, labels), patient=patient)
