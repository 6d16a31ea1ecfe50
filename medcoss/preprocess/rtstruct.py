"""Outlines of a DICOM structure set (RTSTRUCT) as voxels of the series that they were drawn on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon

from medcoss.preprocess.deidentify import pseudonym
from medcoss.run import BadInput

MODALITY = "RTSTRUCT"
_TAGS = ["Modality", "SeriesDescription", "StructureSetLabel", "ReferencedFrameOfReferenceSequence",
         "StructureSetROISequence"]  # fmt: skip
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
# of the distance of slices; headers are written with few digits
_OFF_SLICE = 0.25


@dataclass(frozen=True)
class StructureSet:
    """What a structure set at `path` outlines: the hash of its `series`, its own `description`, and the `names`."""

    path: str
    series: str
    description: str
    names: tuple[str, ...]


def read_structure_set(file: Path, path: str, key: bytes) -> StructureSet | None:
    """What a DICOM file outlines, None when it is no structure set; `key` is the secret of the hash.

    Raises BadInput naming `path` when it cannot be read or refers to no series.
    """
    dataset = _read(file, path, _TAGS)
    if dataset.get("Modality") != MODALITY:
        return None
    try:
        frame = dataset.ReferencedFrameOfReferenceSequence[0]
        series = str(frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID)
        names = tuple(str(roi.get("ROIName", "")) for roi in dataset.StructureSetROISequence)
    except (AttributeError, IndexError, TypeError):
        raise BadInput("the structure set refers to no series, or names no structures", path) from None
    description = f"{dataset.get('SeriesDescription', '')} {dataset.get('StructureSetLabel', '')}"
    return StructureSet(path, pseudonym(series, key), description, names)


def read_contours(file: Path, path: str, names: Iterable[str]) -> list[NDArray[np.float64]]:
    """The closed outlines of the structures called so, each (points, 3) in mm, LPS. Raises BadInput naming `path`."""
    dataset, wanted = _read(file, path, None), set(names)
    try:
        numbers = {roi.ROINumber for roi in dataset.StructureSetROISequence if str(roi.get("ROIName", "")) in wanted}
        return list(_contours(dataset, numbers))
    except (AttributeError, TypeError, ValueError):
        raise BadInput("the structure set holds an outline that cannot be read", path) from None


def rasterised(contours: list[NDArray[np.float64]], image: sitk.Image, path: str) -> NDArray[np.uint8]:
    """Voxels (z, y, x) of `image` whose centres lie within outlines (points, 3) in mm; one within another is a hole.

    Raises BadInput naming `path` when an outline lies between or outside the slices, or no voxel is outlined.
    """
    columns, rows, slices = image.GetSize()
    mask = np.zeros((slices, rows, columns), bool)
    axes = np.reshape(image.GetDirection(), (3, 3))
    for points in contours:
        # of the index of voxels: x, y, z
        places = (points - image.GetOrigin()) @ axes / image.GetSpacing()
        number = round(float(np.median(places[:, 2])))
        if np.abs(places[:, 2] - number).max() > _OFF_SLICE:
            raise BadInput("an outline lies between the slices of its series; expected one drawn on them", path)
        inside = (places[:, :2] > -1).all() and (places[:, :2] < (columns, rows)).all()
        if not (0 <= number < slices and inside):
            raise BadInput("an outline lies outside its series; expected the whole series that it was drawn on", path)
        mask[number][polygon(places[:, 1], places[:, 0], (rows, columns))] ^= True
    if not mask.any():
        raise BadInput("no voxel is outlined; expected closed outlines of the structure", path)
    return mask.astype(np.uint8)


def _contours(dataset: Dataset, numbers: set[Any]) -> Iterator[NDArray[np.float64]]:
    for roi in dataset.get("ROIContourSequence") or ():
        if roi.ReferencedROINumber not in numbers:
            continue
        for contour in roi.get("ContourSequence") or ():
            if contour.get("ContourGeometricType") in _CLOSED:
                points = np.array([float(value) for value in contour.ContourData]).reshape(-1, 3)
                if not np.isfinite(points).all():
                    raise ValueError("not finite")
                yield points


def _read(file: Path, path: str, tags: list[str | int] | None) -> Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(f"this is no readable DICOM file ({type(error).__name__})", path) from None
