"""Small files of every format, as bytes."""

import io
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from medcoss.data.shards import ShardReader

# runs a recipe on the upload: the dataset, and its report
Prepare = Callable[..., tuple[ShardReader, dict[str, Any]]]


def image_bytes(array: NDArray[Any], fmt: str = "PNG", **options: Any) -> bytes:
    """An image file of an array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, fmt, **options)
    return buffer.getvalue()


def dicom_bytes(pixels: NDArray[Any], photometric: str, **tags: Any) -> bytes:
    """A DICOM file of (H, W) or (H, W, 3) pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)  # type: ignore[arg-type]
    bits = 8 * pixels.itemsize
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = 0
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def itk_image(
    array: NDArray[Any],
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
    origin: tuple[float, ...] = (0.0, 0.0, 0.0),
    direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
) -> sitk.Image:
    """An image of (z, y, x) voxels with geometry in (x, y, z)."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def volume_bytes(image: sitk.Image, suffix: str = ".nii.gz") -> bytes:
    """A volume file of an image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"volume{suffix}"
        sitk.WriteImage(image, str(path))
        return path.read_bytes()


def put(path: Path, data: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Outline:
    """A folder with the names and sizes of another one's files, and what was brought to it."""

    def __init__(self, whole: Path, folder: Path) -> None:
        self.whole, self.folder, self.brought = whole, folder, set[str]()
        for path in whole.rglob("*"):
            if path.is_file():
                put(folder / path.relative_to(whole), bytes(path.stat().st_size))

    def bring(self, paths: Iterable[str]) -> None:
        """Copy what is there, as a worker fetches it."""
        for path in paths:
            if (self.whole / path).is_file():
                self.brought.add(path)
                put(self.folder / path, (self.whole / path).read_bytes())
