"""Writing phantoms as the files a hospital has: PNG, NIfTI and DICOM, the same bytes for the same content."""

import gzip
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write grey (H, W) or RGB (H, W, 3) pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG", compress_level=6)


def write_nifti(path: Path, image: sitk.Image) -> None:
    """Write a volume as .nii.gz; the gzip header carries neither a time nor a name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "volume.nii"
        sitk.WriteImage(image, str(plain))
        path.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=5, mtime=0))


def write_radiograph(path: Path, image: NDArray[np.uint16], *, inverted: bool, pixel_mm: float, study: str) -> None:
    """Write 12-bit grey (H, W), white = dense, as a Computed Radiography object of an invented patient.

    `inverted` stores it as MONOCHROME1 (0 is shown white). `study` names the invented patient
    and is all that the identifiers are derived from.
    """
    stored = (4095 - image) if inverted else image
    uids = [generate_uid(entropy_srcs=["medcoss phantom", study, level]) for level in ("study", "series", "image")]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = uids[2]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, uids[2]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids[0], uids[1]
    dataset.StudyDate, dataset.StudyTime = "20000101", "120000"
    dataset.AccessionNumber, dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = study, "1", 1, 1
    dataset.Modality, dataset.Manufacturer, dataset.ReferringPhysicianName = "CR", "medcoss phantoms", ""
    dataset.PatientName, dataset.PatientID = "SYNTHETIC^PHANTOM", f"SYNTHETIC-{study}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientOrientation = "", "O", ["L", "F"]
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.Laterality = "CHEST", "PA", ""
    dataset.ImageComments = "Synthetic phantom made by software. No patient. Not for diagnosis."
    dataset.PixelSpacing = [f"{pixel_mm:.3f}"] * 2
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = "2048", "4096"
    dataset.PixelData = stored.astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
