"""Vestibular-Schwannoma-SEG: MR of vestibular schwannoma (Shapey et al., Scientific Data 2021, TCIA, CC BY 4.0).

Expected layout, at any depth: `vs_gk_1/vs_gk_t1_refT1.nii.gz` and `vs_gk_1/vs_gk_seg_refT1.nii.gz` (for T2
`vs_gk_t2_refT2.nii.gz` and `vs_gk_seg_refT2.nii.gz`), as the converter of the publishers makes them of the DICOM files;
or of nnU-Net `imagesTr/vs_gk_1_0000.nii.gz` and `labelsTr/vs_gk_1.nii.gz`. Labels are 0 and 1, the tumour. The name of
the case is the patient; a fifth of them are the test set.

By the rules of nnU-Net's first version: axes nearest to LPS, cut to what is not zero, resampled to the median spacing
of the training cases, cubic, z-scored by itself. Samples are tiles, float32 (1, 16, 512, 512) by default, a whole
slice each, padded by the lowest value of the volume (by 0 where only the head is normalised), with a mask uint8
(1, D, H, W).
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from medcoss.modalities import Kind
from medcoss.preprocess.nnunet import median_spacing, normalise_case
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.segmentation import read_case, resampled, tiles
from medcoss.run import BadInput
from medcoss.specs.recipes.vs_seg import VsSeg

_ENDING = r"\.nii(?:\.gz)?"
_IMAGE = re.compile(rf"vs_gk_(t[12])_ref(T[12])({_ENDING})")
_LABELS = re.compile(rf"vs_gk_seg_refT[12]{_ENDING}")
_NNUNET = re.compile(rf"(.+)_0000({_ENDING})")


def describe(spec: VsSeg) -> Described:
    """Tiles with one mask channel."""
    return Described(Kind.VOLUME3D, (1, *spec.size), classes=("tumour",), has_masks=True)


def plan(spec: VsSeg, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume of the sequence."""
    for path in raw.files(spec.suffixes):
        place = PurePosixPath(path)
        folder, name = place.parent, place.name
        image, nnunet = _IMAGE.fullmatch(name), _NNUNET.fullmatch(name)
        if folder.name == "imagesTr" and nnunet:
            yield _item(path, f"{folder.parent / 'labelsTr' / nnunet[1]}{nnunet[2]}", nnunet[1], raw)
        elif folder.name == "labelsTr" or _LABELS.fullmatch(name):
            continue
        elif image is None or not folder.name:
            yield Rejected(path, "expected vs_gk_1/vs_gk_t1_refT1.nii.gz, or imagesTr/vs_gk_1_0000.nii.gz of nnU-Net")
        elif image[1].upper() != spec.sequence or image[2] != spec.sequence:
            yield LeftOut(path, f"not a {spec.sequence} volume on its own grid")
        else:
            yield _item(path, f"{folder}/vs_gk_seg_ref{spec.sequence}{image[3]}", folder.name, raw)


def survey(_spec: VsSeg, item: Item, raw: Raw) -> Any:
    """Spacing in mm and voxels (z, y, x) of the cut case."""
    case = read_case(raw, item.files, 1)
    return {"spacing": case.spacing, "shape": case.cut.volume.shape}


def conclude(_spec: VsSeg, surveyed: Iterator[tuple[Item, Any]]) -> Any:
    """The spacing of all samples in mm (z, y, x). Raises BadInput without training cases."""
    cases = [found for item, found in surveyed if found is not None and item.split == "train"]
    if not cases:
        raise BadInput("no training case could be read, whose spacings are needed; see the report", "dataset")
    return median_spacing(*(np.array([case[key] for case in cases]) for key in ("spacing", "shape")))


def make(spec: VsSeg, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one volume."""
    case = resampled(read_case(raw, item.files, 1), tuple(raw.findings))
    volume = normalise_case(case.volume, case.mask)
    masks = (case.labels == 1).astype(np.uint8)[None]
    yield from tiles(volume, masks, case.spacing, spec, float(volume.min()) if case.mask is None else 0.0, item.name)


def _item(path: str, labels: str, patient: str, raw: Raw) -> Item | Rejected:
    if not raw.has(labels):
        return Rejected(path, f"there is no label map {labels}")
    return Item(path, (path, labels), patient=patient)
