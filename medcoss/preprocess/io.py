"""Reading images and volumes as hospitals keep them: PNG, JPEG, TIFF, DICOM, NIfTI, MHA, NRRD.

The content decides, not the file name; whatever cannot be used raises BadInput with the
file's name, what was found and what was expected.
"""

import gzip
import io
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom.pixels import apply_modality_lut, apply_voi_lut, convert_color_space

from medcoss.run import BadInput

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mha", ".nrrd")
_IMAGE_FORMATS = ["PNG", "JPEG", "TIFF", "BMP"]


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """True when the file name ends in one of `suffixes`, in any case."""
    return path.lower().endswith(suffixes)


def describe(data: bytes) -> str:
    """What some bytes look like, for error messages."""
    if not data:
        return "an empty file"
    signatures = {
        b"\x89PNG": "a PNG image",
        b"\xff\xd8\xff": "a JPEG image",
        b"\x1f\x8b": "a gzip file",
        b"PK\x03\x04": "a zip archive",
        b"%PDF": "a PDF document",
    }
    for start, name in signatures.items():
        if data.startswith(start):
            return name
    if data[128:132] == b"DICM":
        return "a DICOM file"
    try:
        data[:1024].decode("utf-8")
    except UnicodeDecodeError:
        return "data of an unknown format"
    return "text"


def _scaled_to_bytes(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map [low, high] to [0, 255]; constant images become 0."""
    span = max(high - low, 1e-12)
    return np.clip(np.rint((values.astype(np.float64) - low) / span * 255), 0, 255).astype(np.uint8)


def _dicom_image(data: bytes, filename: str) -> NDArray[np.uint8]:
    """Pixels of a single-frame DICOM file as displayed: modality LUT, window, MONOCHROME1 inverted."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        pixels = dataset.pixel_array
        photometric = str(dataset.PhotometricInterpretation)
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            raise BadInput("this DICOM file has several frames; expected one image", filename)
        if photometric.startswith("YBR"):
            pixels = convert_color_space(pixels, photometric, "RGB")
        if pixels.ndim == 3:
            return np.asarray(pixels, dtype=np.uint8)
        shown = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    except BadInput:
        raise
    except Exception as error:
        # pydicom raises many types on broken files; none of their texts may carry header values
        raise BadInput(
            f"this DICOM file has no readable pixels ({type(error).__name__}); expected one uncompressed, JPEG or "
            "JPEG 2000 image",
            filename,
        ) from error
    image = _scaled_to_bytes(shown, float(shown.min()), float(shown.max()))
    return 255 - image if photometric == "MONOCHROME1" else image


def read_image(data: bytes, filename: str) -> NDArray[np.uint8]:
    """Decode one image to (H, W) grey or (H, W, 3) RGB, 8 bit; 16-bit grey is scaled by its own range.

    Raises BadInput naming `filename`.
    """
    if data[128:132] == b"DICM":
        return _dicom_image(data, filename)
    try:
        with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
            image.load()
            if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
                values = np.asarray(image)
                return _scaled_to_bytes(values, float(values.min()), float(values.max()))
            grey = image.mode in {"1", "L", "LA"}
            return np.asarray(image.convert("L" if grey else "RGB"))
    except UnidentifiedImageError:
        raise BadInput(f"this is {describe(data)}; expected a PNG, JPEG, TIFF or DICOM image", filename) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInput(f"the image is damaged or too large ({error}); expected a whole image", filename) from error


def _unpacked(data: bytes, filename: str, folder: Path) -> Path:
    """Write volume bytes where ITK can read them; gzip is unpacked here, so that truncation is an error."""
    name = filename.lower()
    if data.startswith(b"\x1f\x8b"):
        target = folder / "volume.nii"
        try:
            with gzip.open(io.BytesIO(data)) as packed, target.open("wb") as out:
                shutil.copyfileobj(packed, out, 1 << 20)
        except (EOFError, OSError, zlib.error) as error:
            raise BadInput(f"the gzip data is damaged or truncated ({error}); copy the file again", filename) from error
        return target
    suffix = next((s for s in (".mha", ".nrrd") if name.endswith(s)), ".nii")
    target = folder / f"volume{suffix}"
    target.write_bytes(data)
    return target


def read_volume(data: bytes, filename: str) -> sitk.Image:
    """Decode one scalar 3-D volume (NIfTI, MHA, NRRD) with its geometry; header scaling is applied.

    Raises BadInput naming `filename` when the file is no volume, has not three
    dimensions, or holds values that are not finite.
    """
    if not data:
        raise BadInput("the file is empty; expected a NIfTI volume", filename)
    with tempfile.TemporaryDirectory() as folder:
        path = _unpacked(data, filename, Path(folder))
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            raise BadInput(f"this is {describe(data)}; expected a NIfTI, MHA or NRRD volume", filename) from None
        size = reader.GetSize()
        while len(size) > 3 and size[-1] == 1:
            size = size[:-1]
        if len(size) != 3:
            shape = " x ".join(map(str, size))
            raise BadInput(
                f"this has {len(size)} dimensions ({shape}); expected a NIfTI, MHA or NRRD volume with 3 (x, y, z)",
                filename,
            )
        if reader.GetNumberOfComponents() != 1:
            raise BadInput("the voxels are vectors; expected one number a voxel", filename)
        reader.SetExtractSize([*size, *[0] * (len(reader.GetSize()) - 3)])
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise BadInput("the voxel data is damaged or shorter than its header says", filename) from error
    if min(image.GetSize()) < 2:
        shape = " x ".join(map(str, image.GetSize()))
        raise BadInput(f"the volume is flat ({shape}); expected at least 2 voxels on every axis", filename)
    values = sitk.GetArrayViewFromImage(image)
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise BadInput("the volume holds NaN or infinite values; replace them", filename)
    return image
