"""Exports of a PACS, slice by slice, and files with a marker in every header element."""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from tests.medcoss.preprocess.files import dicom_bytes, put

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
# how the pixels are stored and where they lie: without these there is no image
NEEDED = {0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100020, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037,
          0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0x00089007}  # fmt: skip
BINARY = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")
NUMBERS = ("US", "SS", "UL", "SL", "FL", "FD", "UV", "SV")
TEXT, UID, DATE, AGE, NUMBER = "MARKED", "1.9.77777.", "19770707", "077Y", 7777
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def voxels(seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 3000, (6, 12, 9)).astype(np.int16)


def export(root: Path, volume: NDArray[np.int16], orientation: tuple[float, ...] = AXIAL, step: float = 2.5,
           series: str = "1.2.3.4", shift: float = 0.0, order: int = 1, **tags: Any) -> None:  # fmt: skip
    """A slice a file, the numbers of files and instances having nothing to do with the places."""
    row, column = np.reshape(orientation, (2, 3))
    normal = np.cross(row, column)
    for number, pixels in enumerate(volume):
        position = np.array([-30.0, 20.0, 7.0]) + number * step * normal + number * shift * column
        name = 7 * number % 11 if order == 1 else number
        known: dict[str, Any] = {
            "SOPClassUID": CTImageStorage, "SOPInstanceUID": f"{series}.{number}.{tags.get('AcquisitionNumber', 0)}",
            "SeriesInstanceUID": series, "StudyInstanceUID": "1.2.3", "PatientID": "P1", "Modality": "CT",
            "InstanceNumber": name,
            "ImagePositionPatient": [float(f"{p:.6f}") for p in position], "ImageOrientationPatient": list(orientation),
            "PixelSpacing": [0.7, 0.8], "RescaleSlope": 2, "RescaleIntercept": -1024, "PixelRepresentation": 1,
        } | tags  # fmt: skip
        left_out = [tag for tag, value in known.items() if value is None]
        data = dicom_bytes(pixels, "MONOCHROME2", **{tag: value for tag, value in known.items() if tag not in left_out})
        put(root / f"{series}-{tags.get('AcquisitionNumber', 0)}" / f"IM{name:03}", data)


def enhanced(volume: NDArray[np.int16], order: Sequence[int], **tags: Any) -> bytes:
    """An enhanced CT file, its frames the slices of a volume, 2 mm apart, in any order; HU are the values less 1000."""
    frames = []
    for number in order:
        place, content, groups = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [1.0, 2.0, 3.0 + 2 * number]
        content.TemporalPositionIndex = 1
        groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
        frames.append(groups)
    plane, measures, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing, measures.SliceThickness = list(AXIAL), [0.7, 0.8], 2.0
    values.RescaleSlope, values.RescaleIntercept = 1, -1000
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    shared.PixelValueTransformationSequence = [values]
    depth, height, width = volume.shape
    known: dict[str, Any] = {
        "SOPClassUID": EnhancedCTImageStorage, "SOPInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.8",
        "StudyInstanceUID": "1.2.7", "FrameOfReferenceUID": "1.2.6", "PatientID": "P1", "Modality": "CT",
        "NumberOfFrames": depth, "Rows": height, "Columns": width, "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames, "SamplesPerPixel": 1, "PixelRepresentation": 1,
    }  # fmt: skip
    return dicom_bytes(volume[list(order)].reshape(-1, width), "MONOCHROME2", **(known | tags))


def marked(tag: int, vr: str) -> DataElement:
    """An element that holds a marker."""
    vr = vr.split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.StudyDescription, item.ReferencedSOPInstanceUID = TEXT, TEXT, f"{UID}5"
        item.add_new(0x00091001, "LO", TEXT)
        return DataElement(tag, vr, [item])
    values: dict[str, Any] = {"UI": f"{UID}{tag}", "DA": DATE, "DT": f"{DATE}070707", "TM": "070707.7777", "AS": AGE,
                              "DS": str(NUMBER), "IS": str(NUMBER), "AT": 0x00777777}  # fmt: skip
    if vr in NUMBERS:
        return DataElement(tag, vr, NUMBER)
    return DataElement(tag, vr, TEXT.encode() * 2 if vr in BINARY else values.get(vr, TEXT))


@cache
def marked_file(**tags: Any) -> bytes:
    """A CT slice with a marker in every element that the dictionary knows, private ones and some that it does not."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS, "MONOCHROME2")))
    for tag, (vr, *_) in DicomDictionary.items():
        outside = tag >> 16 in (0x0002, 0x0000, 0x0004, 0x0006, 0xFFFA, 0xFFFC, 0xFFFE, 0x0028, 0x5200)
        if not outside and tag not in NEEDED and vr != "NONE":
            dataset.add(marked(tag, vr))
    dataset.private_block(0x0011, TEXT, create=True).add_new(1, "LO", TEXT)
    dataset.add_new(0x00080003, "LO", TEXT)
    dataset.file_meta.SourceApplicationEntityTitle = TEXT
    dataset.file_meta.PrivateInformationCreatorUID, dataset.file_meta.PrivateInformation = f"{UID}1", TEXT.encode()
    dataset.preamble = TEXT.encode().ljust(128, b"\0")
    known = {"SOPClassUID": CTImageStorage, "SOPInstanceUID": f"{UID}1", "SeriesInstanceUID": f"{UID}2",
             "StudyInstanceUID": f"{UID}3", "PatientID": TEXT, "Modality": "CT", "ImagePositionPatient": [0, 0, 0],
             "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [1, 1], "BurnedInAnnotation": "NO",
             "ImageType": ["ORIGINAL", "PRIMARY"], "SpecificCharacterSet": "ISO_IR 100"} | tags  # fmt: skip
    for name, value in known.items():
        setattr(dataset, name, list(value) if isinstance(value, tuple) else value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


# what is said of animals and devices
_NOT_OF_A_PERSON = ("EventTimerNames", "PatientSpeciesDescription", "PatientBreedDescription",
                    "PatientReliabilityIndicator")  # fmt: skip


def identified_file(pixels: NDArray[Any] = PIXELS, **tags: Any) -> bytes:
    """A radiograph with a marker in each text of the dictionary that is of a patient, a person or an institution, in
    private attributes, in a sequence and before the header.
    """
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(pixels, "MONOCHROME2")))
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        about = any(word in keyword for word in ("Patient", "Physician", "Institution", "Operator", "Person", "Names"))
        if (
            vr in ("LO", "SH", "PN", "LT", "ST", "UT")
            and about
            and keyword not in _NOT_OF_A_PERSON
            and 0x0008 <= tag >> 16 <= 0x0040
        ):
            dataset.add(marked(tag, vr))
    dataset.add(marked(0x00081110, "SQ"))
    dataset.private_block(0x0011, TEXT, create=True).add_new(1, "LO", TEXT)
    dataset.preamble = TEXT.encode().ljust(128, b"\0")
    for name, value in ({"StudyInstanceUID": f"{UID}3", "SeriesInstanceUID": f"{UID}2", "SOPInstanceUID": f"{UID}1",
                         "Modality": "DX"} | tags).items():  # fmt: skip
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
