"""Headers of DICOM files, one a slice: what series are grouped, sorted and checked by.

Pixels are not read; about half a kilobyte a slice is kept, whatever the size of the files. Identifiers leave this
module as keyed hashes.
"""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from pydicom.dataset import Dataset

from medcoss.preprocess.deidentify import patient_key, pseudonym
from medcoss.run import BadInput

_ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.2.1",  # CT
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.4.1",  # MR
    "1.2.840.10008.5.1.4.1.1.4.4",
    "1.2.840.10008.5.1.4.1.1.130",  # PET
    "1.2.840.10008.5.1.4.1.1.128.1",
}
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
_PROJECTIONS = ("CR", "DX", "MG", "RG", "IO", "PX")
# what tells apart several images at one position, in the order in which they are tried
TIME_TAGS = ("TemporalPositionIdentifier", "AcquisitionNumber", "EchoNumbers", "DiffusionBValue", "TriggerTime",
             "AcquisitionTime", "ContentTime")  # fmt: skip
_TAGS = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality", "ImageType",
         "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
         "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", *TIME_TAGS]  # fmt: skip
Vector = tuple[float, float, float]
T = TypeVar("T", bound=Hashable)


class NoSlice(BadInput):
    """A whole DICOM file that holds something else than slices of a volume, as exports do: to be left out, not bad."""


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """One slice: where its pixels are, and where they lie in the patient (mm, LPS).

    `orientation` is the direction along a row and the one down a column; `spacing` the distance of
    rows and of columns. `times` are the values of TIME_TAGS. `patient`, `study`, `series` and `instance` are hashes.
    """

    path: str
    frame: int | None
    patient: str
    study: str
    series: str
    instance: str
    modality: str
    image_type: tuple[str, ...]
    shape: tuple[int, int]
    position: Vector
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    times: tuple[str, ...]


def read_headers(file: Path, name: str, key: bytes) -> Iterator[SliceHeader]:
    """The slices of a DICOM file: one, or one for each frame of an enhanced CT, MR or PET file.

    Raises NoSlice naming `name` for a radiograph, a localizer, a report and the like, else BadInput; their texts hold
    no header value of a patient.
    """
    try:
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(f"this is no readable DICOM file ({type(error).__name__})", name) from None
    try:
        yield from _slices(dataset, name, key)
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - the same
        raise BadInput(f"the header holds a value that cannot be read ({type(error).__name__})", name) from None


def _slices(dataset: Dataset, name: str, key: bytes) -> Iterator[SliceHeader]:
    other = _other_object(dataset)
    if other:
        raise NoSlice(f"{other}; it is left out", name)
    if not dataset.get("SeriesInstanceUID"):
        raise BadInput("the header has no SeriesInstanceUID: it belongs to no series", name)
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        yield _header(dataset, dataset, dataset, dataset, None, name, key)
        return
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    per_frame = dataset.PerFrameFunctionalGroupsSequence
    if len(per_frame) != frames:
        raise BadInput(f"the header describes {len(per_frame)} of {frames} frames", name)
    for number, groups in enumerate(per_frame):
        place, plane, measures = (
            (groups.get(keyword) or shared[0].get(keyword) or [Dataset()])[0]
            for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        yield _header(dataset, place, plane, measures, number, name, key, _frame_times(groups))


def _other_object(dataset: Dataset) -> str:
    """What a whole file is that holds no slice of a volume; "" for one that should hold one."""
    kind, modality = str(dataset.get("SOPClassUID", "")), str(dataset.get("Modality", ""))
    if not dataset.get("Rows") or not dataset.get("Columns"):
        return "the file holds no image (an index, a report, a presentation state, a structure set)"
    if modality in _PROJECTIONS:
        return f"this is a projection image ({modality}), no slice of a volume: image_folder takes it"
    if any("LOCALIZER" in str(part).upper() for part in dataset.get("ImageType") or ()):
        return "this is a localizer (scout), no slice of a volume"
    if kind.startswith(_CAPTURES) and not dataset.get("ImagePositionPatient"):
        return "this is a screen capture, no slice of a volume"
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if "PerFrameFunctionalGroupsSequence" in dataset:
        enhanced = kind in _ENHANCED
        return "" if enhanced else "this is a multi-frame object other than an enhanced CT, MR or PET image"
    if frames > 1:
        return (f"the file has {frames} frames without a place for each, no slices of a volume: single slices, or an "
                "enhanced CT, MR or PET file, are")  # fmt: skip
    return ""


def _frame_times(groups: Dataset) -> tuple[str, ...]:
    content = (groups.get("FrameContentSequence") or [Dataset()])[0]
    echo = (groups.get("MREchoSequence") or [Dataset()])[0]
    diffusion = (groups.get("MRDiffusionSequence") or [Dataset()])[0]
    return (str(content.get("TemporalPositionIndex", "")), str(content.get("FrameAcquisitionNumber", "")),
            str(echo.get("EffectiveEchoTime", "")), str(diffusion.get("DiffusionBValue", "")), "",
            str(content.get("FrameAcquisitionDateTime", "")), "")  # fmt: skip


def _header(dataset: Dataset, place: Dataset, plane: Dataset, measures: Dataset, frame: int | None, name: str,
            key: bytes, times: tuple[str, ...] | None = None) -> SliceHeader:  # fmt: skip
    position = _numbers(place.get("ImagePositionPatient"), 3, "ImagePositionPatient", name)
    spacing = _numbers(measures.get("PixelSpacing"), 2, "PixelSpacing", name)
    orientation = _numbers(plane.get("ImageOrientationPatient"), 6, "ImageOrientationPatient", name)
    if min(spacing) <= 0:
        raise BadInput(f"PixelSpacing is {spacing[0]:g} x {spacing[1]:g}; expected lengths above 0 mm", name)
    row, column = orientation[:3], orientation[3:]
    if abs(math.hypot(*row) - 1) > 1e-2 or abs(math.hypot(*column) - 1) > 1e-2 or abs(_dot(row, column)) > 1e-2:
        raise BadInput("ImageOrientationPatient does not hold two directions at right angles", name)
    found = tuple(_once(str(dataset.get(tag, "") or "")) for tag in TIME_TAGS) if times is None else times
    patient = _once(patient_key(dataset, key))
    study, series, instance = (
        _once(pseudonym(str(dataset.get(tag, "")), key))
        for tag in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    return SliceHeader(
        name, frame, patient, study, series, instance, _once(str(dataset.get("Modality", ""))),
        _once(tuple(map(str, dataset.get("ImageType") or ()))), _once((int(dataset.Rows), int(dataset.Columns))),
        (position[0], position[1], position[2]), _once(orientation), _once((spacing[0], spacing[1])), _once(found),
    )  # fmt: skip


@lru_cache(maxsize=1024)
def _once(value: T) -> T:
    """The value that is equal and already there: slices of a series share most of theirs."""
    return value


def _dot(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _numbers(value: Any, count: int, tag: str, name: str) -> tuple[float, ...]:
    if value is None or value == "":
        raise BadInput(f"the header has no {tag}; expected a slice with a place in the patient", name)
    numbers = tuple(float(v) for v in value)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise BadInput(f"{tag} does not hold {count} finite numbers", name)
    return numbers
