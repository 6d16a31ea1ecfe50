"""One image or volume as it is sent to a server: a file, DICOM files, or a DICOM series in a zip archive.

The content decides what it is, never a name. What of it cannot be used is refused as a whole: of a single input nothing
may be left out silently.
"""

import io
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medcoss.preprocess.archive_members import FREE_BYTES, Budget, Unusable, unpack
from medcoss.preprocess.dicom_headers import NoSlice, SliceHeader
from medcoss.preprocess.dicom_items import KEY, dicom_files
from medcoss.preprocess.dicom_series import Stack, group_series, stacks
from medcoss.preprocess.dicom_volume import on_slices, read_stack
from medcoss.preprocess.io import read_image, read_volume
from medcoss.preprocess.raw import Raw
from medcoss.run import BadInput

# 512 x 512 x 2048; as numbers of 32 bit, with its tiles, that is several GiB
SERVED_VOXELS = 2**29
# of an X-ray or a tile; a mammogram has some 30 million
SERVED_PIXELS = 2**26
# of a series
_MOST_FILES = 20_000
# pixels of real images do not pack better
_RATIO = 200
_ZIP = b"PK\x03\x04"
# a zip archive without a member
_EMPTY_ZIP = b"PK\x05\x06"
_SCANNED = ("ct", "mr")


@dataclass(frozen=True)
class File:
    """The content of a file and the name that messages call it by."""

    name: str
    data: bytes


@dataclass(frozen=True)
class Series:
    """The DICOM series that a volume was made of: its slices in order, and the headers of their files, without pixels.

    Files are in the order of the slices; the frames of a file that holds several belong to one header.
    """

    stack: Stack
    headers: list[Dataset]

    @property
    def instances(self) -> list[str]:
        """SOPInstanceUID of every slice, in the order of the slices."""
        if len(self.headers) == len(self.stack.slices):
            return [str(header.SOPInstanceUID) for header in self.headers]
        return [str(self.headers[0].SOPInstanceUID)] * len(self.stack.slices)

    def frames(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Masks (K, slices, rows, columns) on the grid of the volume as masks of the slices as they were stored, in the
        order of the files' frames.
        """
        stored = on_slices(masks, self.stack)
        if len(self.headers) == len(self.stack.slices):
            return stored
        order = np.argsort([one.frame or 0 for one in self.stack.slices])
        return stored[:, order]


@dataclass(frozen=True)
class Volume:
    """A volume in mm and LPS, and the series that it was made of, where it came as DICOM."""

    image: sitk.Image
    series: Series | None = None


def received_image(files: Sequence[File]) -> tuple[NDArray[np.uint8], Dataset | None]:
    """Pixels (H, W) grey or (H, W, 3) RGB, and the header, without pixels, of an image that came as DICOM.

    Raises BadInput naming the file.
    """
    file = files[0]
    if len(files) > 1:
        raise BadInput(f"these are {len(files)} DICOM files; expected one image", file.name)
    if file.data.startswith((_ZIP, _EMPTY_ZIP)):
        raise BadInput("this is a zip archive; expected one PNG, JPEG, TIFF or DICOM image", file.name)
    pixels = read_image(file.data, file.name, SERVED_PIXELS)
    return pixels, _header_of(file) if file.data[128:132] == b"DICM" else None


def received_volume(files: Sequence[File], modality: str) -> Volume:
    """The volume of a NIfTI, MHA, NRRD or enhanced DICOM file, of a zip archive with a DICOM series, or of its files.

    `modality` is what the model reads: of several series the one of "ct" or "mr" is taken, and another one is refused.
    Raises BadInput naming the file.
    """
    first = files[0]
    packed = len(files) == 1 and first.data.startswith((_ZIP, _EMPTY_ZIP))
    if len(files) == 1 and not packed and first.data[128:132] != b"DICM":
        return Volume(read_volume(first.data, first.name, SERVED_VOXELS))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "files"
        root.mkdir()
        if packed:
            _unpack(first, Path(folder) / "series.zip", root)
        for number, file in enumerate(() if packed else files):
            (root / f"{number:05}.dcm").write_bytes(file.data)
        try:
            return _volume_of(_stack_of(root, modality), root)
        except BadInput as error:
            raise _named(error, files, packed) from None


def _header_of(file: File) -> Dataset:
    # it was read before, with its pixels
    return pydicom.dcmread(io.BytesIO(file.data), stop_before_pixels=True)


def _unpack(file: File, archive: Path, root: Path) -> None:
    archive.write_bytes(file.data)
    try:
        # by the name it is told from a tar archive
        refused = list(unpack(archive, archive.name, root, _Budget(), lambda _read: None))
    except Unusable as error:
        raise BadInput(str(error), file.name) from None
    if refused:
        raise BadInput(refused[0].reason, refused[0].path.replace(archive.name, file.name, 1))
    if not any(root.rglob("*")):
        raise BadInput("the zip archive is empty; expected the DICOM files of one series", file.name)


class _Budget(Budget):
    """What the archive of one series may unpack to; the messages name no setting of a preprocessing job."""

    def __init__(self) -> None:
        super().__init__(SERVED_VOXELS * 4 + FREE_BYTES, _MOST_FILES, _RATIO)

    def take(self, size: int, files: int = 0) -> None:
        """Count; raises Unusable over a limit."""
        self.add(size, files)
        most_bytes, most_files, _ = self.limits()
        came, count = self.spent()
        if came > most_bytes:
            raise Unusable(f"it unpacks to over {most_bytes:,} bytes; send a smaller series")
        if count > most_files:
            raise Unusable(f"it holds over {most_files:,} members; send the files of one series")

    def check_ratio(self, came: int, packed: int) -> None:
        """Raise Unusable when an archive of `packed` bytes has grown to more than is believed of real files."""
        if came > max(FREE_BYTES, packed * _RATIO):
            raise Unusable(f"it unpacks to over {_RATIO} times its size of {packed:,} bytes, as archives do that are "
                           "made to fill a disk; send the DICOM files of one series")  # fmt: skip


def _stack_of(root: Path, modality: str) -> Stack:
    """The only volume of the DICOM files below `root`."""
    left_out: list[BadInput] = []

    def reject(path: str, error: BadInput) -> None:
        if not isinstance(error, NoSlice):
            raise BadInput(error.message, path)
        left_out.append(error)

    found = [*group_series(root, dicom_files(Raw(root)), KEY, reject).values()]
    if not found:
        why = f"no slice of a volume: {left_out[0].message}" if left_out else "no DICOM file"
        raise BadInput(f"it holds {why}; expected the slices of one CT or MR series")
    found = _of_modality(found, modality)
    if len(found) > 1:
        told = ", ".join(f"{len(slices)} slices of {slices[0].modality or 'no modality'}" for slices in found)
        raise BadInput(f"it holds {len(found)} series ({told}); expected one: send each by itself")
    volumes = stacks(found[0])
    if len(volumes) > 1:
        told = ", ".join(one.time for one in volumes[:3])
        raise BadInput(f"the series holds {len(volumes)} volumes ({told}); expected one: send each by itself")
    (stack,) = volumes
    voxels = len(stack.slices) * math.prod(stack.slices[0].shape)
    if voxels > SERVED_VOXELS:
        raise BadInput(f"the series has {voxels:,} voxels, at most {SERVED_VOXELS:,} are taken: crop it")
    return stack


def _of_modality(series: list[list[SliceHeader]], modality: str) -> list[list[SliceHeader]]:
    """The series of the model's modality, where DICOM has a word for it."""
    if modality not in _SCANNED:
        return series
    fitting = [slices for slices in series if slices[0].modality == modality.upper()]
    if not fitting:
        found = sorted({slices[0].modality or "none" for slices in series})
        raise BadInput(f"the modality of the series is {', '.join(found)}; the model reads {modality.upper()}")
    return fitting


def _volume_of(stack: Stack, root: Path) -> Volume:
    image = read_stack(stack, root)
    paths = dict.fromkeys(one.path for one in stack.slices)
    return Volume(image, Series(stack, [pydicom.dcmread(root / path, stop_before_pixels=True) for path in paths]))


def _named(error: BadInput, files: Sequence[File], packed: bool) -> BadInput:
    """The error with the name that the sender knows: of the archive and its member, or of the file that was sent."""
    if packed:
        return BadInput(error.message, f"{files[0].name}: {error.where}" if error.where else files[0].name)
    number = Path(error.where).stem
    if number.isdecimal() and int(number) < len(files):
        return BadInput(error.message, files[int(number)].name)
    return BadInput(error.message, files[0].name if len(files) == 1 else "the series")
