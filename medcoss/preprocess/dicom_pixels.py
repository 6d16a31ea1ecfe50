"""Stored pixels of DICOM files, also of those that pydicom's own decoders do not know."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

# JPEG lossless, which many archives keep CT and MR in; JPEG-LS
_BY_GDCM = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")

# the encodings that there are decoders for, for messages
READABLE = "uncompressed, JPEG, JPEG-LS, JPEG 2000 or RLE"


def why_unreadable(error: Exception, dataset: Dataset | None) -> str:
    """What to tell of pixels that cannot be decoded: the type of the error, never its text, which may carry header
    values, and how the pixels are encoded.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    # a damaged file may name several, and a UID that is not in the dictionary has itself as its name
    encoded = f", encoded as {syntax.name}" if isinstance(syntax, UID) and syntax.is_transfer_syntax else ""
    return f"{type(error).__name__}{encoded}"


def stored_pixels(dataset: Dataset, file: Path | bytes) -> NDArray[Any]:
    """Pixels as stored, before rescaling: (H, W), (frames, H, W) or with colours last.

    `dataset` was read from `file`. Raises whatever the decoders raise: of many types, with texts that may carry header
    values.
    """
    grey = int(dataset.get("SamplesPerPixel", 1)) == 1 and int(dataset.get("NumberOfFrames", 1) or 1) == 1
    if dataset.file_meta.TransferSyntaxUID not in _BY_GDCM or not grey:
        return np.asarray(dataset.pixel_array)
    if isinstance(file, bytes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image.dcm"
            path.write_bytes(file)
            return _by_gdcm(dataset, path)
    return _by_gdcm(dataset, file)


def _by_gdcm(dataset: Dataset, path: Path) -> NDArray[Any]:
    """SimpleITK carries GDCM, which rescales: that is undone."""
    image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    slope, intercept = (
        float(dataset.get(name, usual)) for name, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    stored = (sitk.GetArrayFromImage(image)[0].astype(np.float64) - intercept) / slope
    return np.rint(stored).astype(np.int32)
