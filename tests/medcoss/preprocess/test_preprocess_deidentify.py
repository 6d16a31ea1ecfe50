"""A marker in every header element: what we keep holds none of those that the profile takes out."""

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from medcoss.preprocess.deidentify import deidentified_file, deidentify, pseudonym, replaced_uid
from medcoss.preprocess.dicom_series import group_series, stacks
from medcoss.preprocess.dicom_volume import read_stack
from medcoss.run import BadInput
from medcoss.specs.preprocess import ImageFolder
from tests.medcoss.preprocess.dicom_files import (
    AGE,
    DATE,
    NEEDED,
    NUMBER,
    PIXELS,
    TEXT,
    UID,
    marked,
    marked_file,
)
from tests.medcoss.preprocess.files import Prepare, dicom_bytes, put

KEY = b"secret"
TABLE = dicom_anonymization_database_selector("dicomfields_2026c")["ALL_TAGS"]


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
        dataset.add(marked(tag, vr))
    assert len(dataset) > 550 and len(survivors(dataset)) > 550
    nested = Dataset()
    nested.update({e.tag: e for e in dataset if e.VR != "SQ"})
    dataset.AnatomicRegionSequence = [nested]  # itself kept
    deidentify(dataset, KEY)
    assert len(dataset.AnatomicRegionSequence[0]) > 50
    assert survivors(dataset) == []


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
                                           AcquisitionNumber=1, RescaleSlope=1, RescaleIntercept=0))  # fmt: skip
    rejected: list[str] = []
    (series,) = group_series(tmp_path, ["0", "1"], KEY, lambda path, error: rejected.append(str(error))).values()
    (stack,) = stacks(series)
    image = read_stack(stack, tmp_path)
    assert not rejected and image.GetMetaDataKeys() == () and sitk.GetArrayFromImage(image).shape == (2, 8, 8)
    told = " ".join(repr([one.patient, one.study, one.series, one.instance, stack.time]) for one in stack.slices)
    assert TEXT not in told and UID not in told and series[0].patient == pseudonym(TEXT, KEY)
