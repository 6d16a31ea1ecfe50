"""Reading images and volumes as hospitals keep them: PNG, JPEG, TIFF, DICOM, NIfTI, MHA, NRRD.

The content decides, not the file name; whatever cannot be used raises BadInput with the
file's name, what was found and what was expected.
"""

import codecs
import gzip
import io
import math
import re
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

from medcoss.preprocess.dicom_pixels import READABLE, stored_pixels, why_unreadable
from medcoss.preprocess.volume_headers import NIFTI_HEADER, check_spacing, nifti_bytes
from medcoss.run import BadInput

# its warnings would carry header values of patients into the logs
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

_IMAGE_FORMATS = ["PNG", "JPEG", "TIFF", "BMP"]
# what a small file may unpack to: twice the pixels of which Pillow warns, as it refuses itself, and a volume of 16 GiB
MOST_PIXELS = 2 * 89_478_485
MOST_VOXELS = 2**32
# of the largest kind of voxel; and a header
_VOXEL_BYTES, _HEADER_BYTES = 8, 2**20
# headers that name another file for the voxels: whoever sends one could read this machine's files
_ELSEWHERE = {
    "MetaImageIO": re.compile(rb"^\s*ElementDataFile\s*=(?!\s*LOCAL\s*$)", re.I | re.M),
    "NrrdImageIO": re.compile(rb"^\s*data ?file\s*:", re.I | re.M),
}


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
        b"GIF8": "a GIF image",
    }
    for start, name in signatures.items():
        if data.startswith(start):
            return name
    if data[128:132] == b"DICM":
        return "a DICOM file"
    try:
        # incremental: the cut may lie within a character
        codecs.getincrementaldecoder("utf-8")().decode(data[:1024])
    except UnicodeDecodeError:
        return "data of an unknown format"
    return "text"


def scaled_to_bytes(values: NDArray[Any], filename: str) -> NDArray[np.uint8]:
    """Map the range of `values` to [0, 255]; constant images become 0. Raises BadInput for NaN and infinity."""
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(high - low):
        raise BadInput("the image holds NaN or infinite values; replace them", filename)
    span = max(high - low, 1e-12)
    return np.clip(np.rint((values.astype(np.float64) - low) / span * 255), 0, 255).astype(np.uint8)


def _dicom_image(data: bytes, filename: str, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Pixels of a single-frame DICOM file: modality LUT and window applied, the values that are left scaled to
    8 bit, MONOCHROME1 inverted, colour as RGB.
    """
    dataset: Dataset | None = None
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        photometric = str(dataset.PhotometricInterpretation)
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            raise BadInput("this DICOM file has several frames; expected one image", filename)
        _check_pixels(int(dataset.Rows) * int(dataset.Columns), most_pixels, filename)
        # pydicom has turned YBR into RGB
        pixels = stored_pixels(dataset, data)
        if photometric == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
        if pixels.ndim == 3:
            # depth of the values, not of the storage: a palette of 16-bit entries may colour 8-bit pixels
            stored = 8 * pixels.itemsize if photometric == "PALETTE COLOR" else int(dataset.BitsStored)
            return (pixels >> max(stored - 8, 0)).astype(np.uint8)
        shown = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - see below
        # pydicom raises many types on broken files; none of their texts may carry header values
        raise BadInput(
            f"this DICOM file has no readable pixels ({why_unreadable(error, dataset)}); expected one image, "
            f"{READABLE}",
            filename,
        ) from None
    image = scaled_to_bytes(shown, filename)
    return 255 - image if photometric == "MONOCHROME1" else image


def read_image(data: bytes, filename: str, most_pixels: int = MOST_PIXELS) -> NDArray[np.uint8]:
    """Decode one image to (H, W) grey or (H, W, 3) RGB, 8 bit; 16-bit grey is scaled by its own range.

    Raises BadInput naming `filename`, also for an image of more than `most_pixels`, before it is unpacked.
    """
    if data[128:132] == b"DICM":
        return _dicom_image(data, filename, most_pixels)
    decoded = _decoded(data, filename, most_pixels)
    return decoded if decoded.dtype == np.uint8 else scaled_to_bytes(decoded, filename)


def read_mask(data: bytes, filename: str) -> NDArray[np.integer[Any]]:
    """Decode a mask to its label values as they are stored, (H, W) of any depth, or (H, W, 3) 8 bit.

    Raises BadInput naming `filename`, also for values that are no whole numbers from 0 on.
    """
    if data[128:132] == b"DICM":
        return _dicom_image(data, filename)
    decoded = _decoded(data, filename)
    if decoded.dtype == np.uint8:
        return decoded
    whole = np.isfinite(decoded).all() and decoded.min() >= 0 and np.array_equal(decoded, np.round(decoded))
    if not whole or decoded.max() > np.iinfo(np.int32).max:
        raise BadInput("the mask holds values that are no labels; expected whole numbers from 0 on", filename)
    return decoded.astype(np.int32)


def _check_pixels(count: int, most_pixels: int, filename: str) -> None:
    if count > most_pixels:
        raise BadInput(
            f"the image has {count:,} pixels, at most {most_pixels:,} are taken: crop or shrink it", filename
        )


def _decoded(data: bytes, filename: str, most_pixels: int = MOST_PIXELS) -> NDArray[Any]:
    """Pixels of an image that is no DICOM: 8-bit (H, W) or (H, W, 3), deeper ones (H, W) as they are stored."""
    try:
        with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
            if image.format == "TIFF" and _has_more_pages(image):
                raise BadInput(
                    "this TIFF file has several pages; expected one image: save each to its own file", filename
                )
            _check_pixels(image.width * image.height, most_pixels, filename)
            image.load()
            if image.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
                return np.asarray(image)
            grey = image.mode in {"1", "L", "LA"}
            return np.asarray(image.convert("L" if grey else "RGB"))
    except UnidentifiedImageError:
        found = describe(data)
        if found in ("a PNG image", "a JPEG image"):
            raise BadInput(f"this is {found} whose header is damaged; copy it again", filename) from None
        raise BadInput(f"this is {found}; expected a PNG, JPEG, TIFF or DICOM image", filename) from None
    except BadInput:
        raise
    except (OSError, SyntaxError, ValueError, TypeError, struct.error, Image.DecompressionBombError) as error:
        raise BadInput(f"the image is damaged or too large ({error}); expected a whole image", filename) from error


def _has_more_pages(image: Image.Image) -> bool:
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _gunzip(data: bytes, target: Path, filename: str, most_bytes: int) -> None:
    """Unpack to a file, not more than `most_bytes` of it, nor than the header of a NIfTI volume asks for."""
    with gzip.open(io.BytesIO(data)) as packed, target.open("wb") as out:
        asked = nifti_bytes(packed.read(NIFTI_HEADER))
        packed.seek(0)
        if asked is not None:
            if asked > most_bytes:
                raise BadInput(
                    f"its header asks for {asked:,} bytes, at most {most_bytes:,} are taken: crop the volume", filename
                )
            most_bytes = min(most_bytes, asked + 2 * _HEADER_BYTES)
        while piece := packed.read(1 << 20):
            if out.tell() + len(piece) > most_bytes:
                raise BadInput(f"it unpacks to over {most_bytes:,} bytes; expected a smaller volume: crop it", filename)
            out.write(piece)


def _unpacked(data: bytes, filename: str, folder: Path, most_bytes: int) -> tuple[Path, str]:
    """Write volume bytes where ITK can read them, and name the reader; gzip is unpacked here, so that truncation
    is an error.
    """
    if data.startswith(b"\x1f\x8b"):
        target = folder / "volume.nii"
        try:
            _gunzip(data, target, filename, most_bytes)
        except (EOFError, OSError, zlib.error) as error:
            raise BadInput(f"the gzip data is damaged or truncated ({error}); copy the file again", filename) from error
        return target, "NiftiImageIO"
    if data.startswith(b"NRRD"):
        suffix, reader, header = ".nrrd", "NrrdImageIO", re.split(rb"\n\r?\n", data, maxsplit=1)[0]
    elif re.search(rb"^\s*ElementDataFile\s*=", data[:65536], re.I | re.M):
        suffix, reader, header = ".mha", "MetaImageIO", data
    else:
        suffix, reader, header = ".nii", "NiftiImageIO", b""
    if reader in _ELSEWHERE:
        if _ELSEWHERE[reader].search(header):
            raise BadInput("its voxels lie in another file; expected header and voxels in one file", filename)
        check_spacing(header, filename)
    target = folder / f"volume{suffix}"
    target.write_bytes(data)
    return target, reader


def _check_nifti(reader: sitk.ImageFileReader, path: Path, filename: str) -> None:
    """Refuse what ITK would replace by zeros without a word: missing voxels, NaN and infinity."""
    offset, bits, code = (int(float(reader.GetMetaData(key))) for key in ("vox_offset", "bitpix", "datatype"))
    offset, count = max(offset, 0), math.prod(reader.GetSize())
    expected, found = offset + count * bits // 8, path.stat().st_size
    if found < expected:
        raise BadInput(
            f"the file is truncated: its header asks for {expected:,} bytes, it has {found:,}; copy it again", filename
        )
    with path.open("rb") as handle:
        header = handle.read(168)
    order = "<" if int.from_bytes(header[:4], "little") in (348, 540) else ">"
    # of both versions of the format; ITK takes 1 for 0, and drops the sign
    new = int.from_bytes(header[:4], "little" if order == "<" else "big") == 540
    spacing = struct.unpack_from(order + ("3d" if new else "3f"), header, 112 if new else 80)
    if not all(math.isfinite(mm) and mm > 0 for mm, size in zip(spacing, reader.GetSize(), strict=False) if size > 1):
        told = ", ".join(f"{mm:g}" for mm in spacing)
        raise BadInput(f"the spacing in its header (pixdim) is {told}; expected three lengths above 0 mm", filename)
    kind = {16: "f4", 64: "f8"}.get(code)
    if kind and not np.isfinite(np.memmap(path, order + kind, "r", offset, (count,))).all():
        raise BadInput("the volume holds NaN or infinite values; replace them", filename)


def _opened(data: bytes, path: Path, reader_name: str, filename: str) -> sitk.ImageFileReader:
    """A reader that has read the header."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(reader_name)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise BadInput(
                "the axes in its header are sheared or empty (sform, qform); expected axes at right angles", filename
            ) from None
        raise BadInput(f"this is {describe(data)}; expected a NIfTI, MHA or NRRD volume", filename) from None
    if reader_name == "NiftiImageIO":
        _check_nifti(reader, path, filename)
    return reader


def read_volume(data: bytes, filename: str, most_voxels: int = MOST_VOXELS) -> sitk.Image:
    """Decode one scalar 3-D volume (NIfTI, MHA, NRRD) with its geometry; header scaling is applied.

    Raises BadInput naming `filename` when the file is no volume, has not three
    dimensions, has more than `most_voxels`, is truncated, or holds values that are not finite.
    """
    if not data:
        raise BadInput("the file is empty; expected a NIfTI volume", filename)
    with tempfile.TemporaryDirectory() as folder:
        most_bytes = most_voxels * _VOXEL_BYTES + _HEADER_BYTES
        reader = _opened(data, *_unpacked(data, filename, Path(folder), most_bytes), filename)
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
        if math.prod(size) > most_voxels:
            found = f"{math.prod(size):,} voxels"
            raise BadInput(f"its header asks for {found}, at most {most_voxels:,} are taken: crop it", filename)
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
