"""A marker in every header element: what we keep holds none of those that the profile takes out."""

import io
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import DicomDictionary, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from medcoss.preprocess.deidentify import deidentified_file, deidentify, pseudonym, replaced_uid
from medcoss.preprocess.dicom_series import group_series, stacks
from medcoss.preprocess.dicom_volume import read_stack
from medcoss.run import BadInput
from medcoss.specs.preprocess import ImageFolder
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, put

KEY = b"secret"
TABLE = dicom_anonymization_database_selector("dicomfields_2026c")["ALL_TAGS"]
PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)
# how the pixels are stored and where they lie: without these there is no image
NEEDED = {0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100020, 0x0020000D, 0x0020000E, 0x00200032, 0x00200037,
          0x7FE00001, 0x7FE00002, 0x7FE00003, 0x7FE00008, 0x7FE00009, 0x7FE00010, 0x00089007}  # fmt: skip
BINARY = ("OB", "OW", "OF", "OD", "OL", "OV", "UN")
FORMATS = {"US": "<H", "SS": "<h", "UL": "<L", "SL": "<l", "FL": "<f", "FD": "<d", "UV": "<Q", "SV": "<q"}
TEXT, UID, DATE, AGE, NUMBER = "MARKED", "1.9.77777.", "19770707", "077Y", 7777


def marked(tag: int, vr: str) -> DataElement | None:
    """An element that holds a marker."""
    vr = vr.split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        item.PatientName, item.StudyDescription, item.ReferencedSOPInstanceUID = TEXT, TEXT, f"{UID}5"
        item.add_new(0x00091001, "LO", TEXT)
        return DataElement(tag, vr, [item])
    values: dict[str, Any] = {"UI": f"{UID}{tag}", "DA": DATE, "DT": f"{DATE}070707", "TM": "070707.7777", "AS": AGE,
                              "DS": str(NUMBER), "IS": str(NUMBER), "AT": 0x00777777}  # fmt: skip
    if vr in FORMATS:
        return DataElement(tag, vr, NUMBER)
    return DataElement(tag, vr, TEXT.encode() * 2 if vr in BINARY else values.get(vr, TEXT))


def tags_of_the_table() -> list[int]:
    found = []
    for group, element, *masks in TABLE:
        tag = group << 16 | element
        if masks:
            tag |= 0x00020000 if masks[1] else 0x00020010
        if group != 2 and tag not in NEEDED | {0x00120062, 0x00120063, 0x04000600, 0x04000500}:
            found.append(tag)
    return sorted(set(found))


def survivors(dataset: Dataset) -> list[str]:
    """Elements that still hold a marker, also within sequences."""
    signs = (TEXT, UID, DATE, "0707", AGE, str(NUMBER))
    return [f"{e.tag} {e.keyword}" for e in dataset.iterall() if e.VR != "SQ" and any(s in str(e.value) for s in signs)]


def test_no_marked_element_of_the_table_survives() -> None:
    dataset = Dataset()
    for tag in tags_of_the_table():
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = "LO"
        element = marked(tag, vr)
        if element is not None:
            dataset.add(element)
    assert len(dataset) > 550 and len(survivors(dataset)) > 550
    nested = Dataset()
    nested.update({e.tag: e for e in dataset if e.VR != "SQ"})
    dataset.AnatomicRegionSequence = [nested]  # itself kept
    deidentify(dataset, KEY)
    assert len(dataset.AnatomicRegionSequence[0]) > 50
    assert survivors(dataset) == []


@cache
def marked_file(**tags: Any) -> bytes:
    """A CT slice with a marker in every element that the dictionary knows, private ones and some that it does not."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(PIXELS, "MONOCHROME2")))
    for tag, (vr, *_) in DicomDictionary.items():
        outside = tag >> 16 in (0x0002, 0x0000, 0x0004, 0x0006, 0xFFFA, 0xFFFC, 0xFFFE, 0x0028, 0x5200)
        if not outside and tag not in NEEDED and vr != "NONE":
            element = marked(tag, vr)
            if element is not None:
                dataset.add(element)
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


def test_a_file_keeps_its_pixels_and_no_identity() -> None:
    before = pydicom.dcmread(io.BytesIO(marked_file()))
    data = deidentified_file(marked_file(), KEY, "a.dcm")
    after = pydicom.dcmread(io.BytesIO(data))
    assert len(before) > 3000 and np.array_equal(after.pixel_array, PIXELS)
    taken = {group << 16 | element for group, element, *masks in TABLE if not masks}
    left = [e for e in after.iterall() if (int(e.tag) in taken or e.VR in ("PN", "UI") or e.is_private)
            and e.VR != "SQ" and any(sign in str(e.value) for sign in (TEXT, UID, DATE))]  # fmt: skip
    assert left == [] and 0x00080003 not in after
    assert (
        UID.encode() not in data and TEXT.encode() not in data[:132] and not after.file_meta.get("PrivateInformation")
    )
    assert after.PatientIdentityRemoved == "YES" and after.PatientID == pseudonym(TEXT, KEY)
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID == replaced_uid(f"{UID}1", KEY)
    assert after.SOPClassUID == CTImageStorage and after.Modality == "CT"
    assert after.PixelSpacing == [1, 1] and after.ImagePositionPatient == [0, 0, 0]


def test_uids_are_replaced_alike_in_every_file_of_a_key() -> None:
    def kept(key: bytes, number: int) -> bytes:
        data = dicom_bytes(PIXELS, "MONOCHROME2", SOPInstanceUID=f"{UID}{number}", SeriesInstanceUID=f"{UID}2",
                           SOPClassUID=CTImageStorage, PatientID=TEXT)  # fmt: skip
        return deidentified_file(data, key, "a")

    first, second, other = (pydicom.dcmread(io.BytesIO(kept(*one))) for one in ((KEY, 8), (KEY, 9), (b"other", 8)))
    assert first.SeriesInstanceUID == second.SeriesInstanceUID and first.SOPInstanceUID != second.SOPInstanceUID
    assert kept(KEY, 8) == kept(KEY, 8)
    assert other.SeriesInstanceUID != first.SeriesInstanceUID and other.PatientID != first.PatientID
    assert len(replaced_uid(f"{UID}1", KEY)) <= 64 and replaced_uid(CTImageStorage, KEY) == CTImageStorage


def test_burned_in_text_and_what_is_no_dicom_are_refused() -> None:
    with pytest.raises(BadInput, match="burned into the pixels"):
        deidentified_file(marked_file(BurnedInAnnotation="YES"), KEY, "a.dcm")
    for data in (b"", b"abc"):
        with pytest.raises(BadInput, match="no readable DICOM") as caught:
            deidentified_file(data, KEY, "a.dcm")
        assert TEXT not in str(caught.value)


def test_no_marker_reaches_shards_manifests_or_logs(
    raw: Path, tmp_path: Path, prepare: Prepare, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    put(raw / "a.dcm", marked_file())
    put(raw / "broken.dcm", marked_file()[:-40])
    reader, report = prepare(ImageFolder(size=(16, 16)))
    assert len(reader) == 1 and "readable" in str(report)
    kept = [path for folder in ("out", "run") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    told = capfd.readouterr()
    everything = b"".join(path.read_bytes() for path in kept)
    everything += f"{reader.rows}{report}{told.out}{told.err}{caplog.text}".encode()
    assert len(kept) >= 4
    for marker in (TEXT, UID, DATE, AGE, str(NUMBER)):
        assert marker.encode() not in everything
    assert struct.pack("<H", NUMBER) + b"\0\0" not in everything


def test_headers_and_volumes_of_a_series_hold_no_marker(tmp_path: Path) -> None:
    for n in range(2):
        put(tmp_path / f"{n}", marked_file(SOPInstanceUID=f"{UID}{n}", ImagePositionPatient=(0, 0, n),
                                           AcquisitionNumber=1))  # fmt: skip
    rejected: list[str] = []
    (series,) = group_series(tmp_path, ["0", "1"], KEY, lambda path, error: rejected.append(str(error))).values()
    (stack,) = stacks(series)
    image = read_stack(stack, tmp_path)
    assert not rejected and image.GetMetaDataKeys() == () and sitk.GetArrayFromImage(image).shape == (2, 8, 8)
    told = " ".join(repr([one.patient, one.study, one.series, one.instance, stack.time]) for one in stack.slices)
    assert TEXT not in told and UID not in told and series[0].patient == pseudonym(TEXT, KEY)
