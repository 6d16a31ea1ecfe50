"""Voxels of a stack of DICOM slices, as a volume with geometry."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from scipy import ndimage

from medcoss.preprocess.dicom_headers import SliceHeader
from medcoss.preprocess.dicom_pixels import READABLE, stored_pixels, why_unreadable
from medcoss.preprocess.dicom_series import Stack
from medcoss.run import BadInput

Array = NDArray[np.float32]


def read_stack(stack: Stack, root: Path) -> sitk.Image:
    """The volume of a stack, float32, in mm and LPS; stored values are rescaled (CT: to HU, PET: slice by slice).

    Of a tilted gantry, slices are moved in their planes (linear) onto a grid at right angles, which is larger; what no
    slice covers takes the smallest value. Raises BadInput naming the file whose pixels cannot be read.
    """
    volume = np.empty((len(stack.slices), *stack.slices[0].shape), np.float32)
    place = {(one.path, one.frame): number for number, one in enumerate(stack.slices)}
    for path, members in groupby(sorted(stack.slices, key=lambda one: one.path), key=lambda one: one.path):
        for header, pixels in _pixels(root / path, list(members)):
            volume[place[header.path, header.frame]] = pixels
    if not np.isfinite(volume).all():
        raise BadInput("rescaled values are NaN or infinite (RescaleSlope, RescaleIntercept)", stack.slices[0].path)
    first = stack.slices[0]
    row, column = first.orientation[:3], first.orientation[3:]
    rows, columns = first.spacing
    origin = np.array(first.position)
    if any(stack.shift):
        volume, before = _upright(volume, stack.shift[1] / rows, stack.shift[0] / columns)
        origin -= before[0] * rows * np.array(column) + before[1] * columns * np.array(row)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((columns, rows, stack.distance))
    image.SetOrigin(origin.tolist())
    image.SetDirection(_rotation(row, stack.normal).T.ravel().tolist())
    return image


def on_slices(masks: NDArray[np.bool_], stack: Stack) -> NDArray[np.bool_]:
    """Masks (K, slices, rows, columns) on the grid of `read_stack` as masks of the stored slices: those of a tilted
    gantry are moved back in their planes, by whole pixels.
    """
    if not any(stack.shift):
        return masks
    first = stack.slices[0]
    rows, columns = first.spacing
    moves, before, _ = _moves(len(stack.slices), stack.shift[1] / rows, stack.shift[0] / columns)
    height, width = first.shape
    starts = np.rint(before + moves).astype(int)
    return np.stack([masks[:, number, y : y + height, x : x + width] for number, (y, x) in enumerate(starts)], axis=1)


def _rotation(row: tuple[float, ...], normal: tuple[float, float, float]) -> NDArray[np.float64]:
    """The three axes as rows, at exactly right angles: headers round them."""
    z = np.array(normal)
    x = np.array(row) - np.dot(row, z) * z
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _upright(volume: Array, rows: float, columns: float) -> tuple[Array, tuple[int, int]]:
    """Slices moved by `rows` and `columns` pixels each against the one before; how much the grid grew before them."""
    moves, before, after = _moves(len(volume), rows, columns)
    low = float(volume.min())
    padding = [(int(b), int(a)) for b, a in zip(before, after, strict=True)]
    moved = [ndimage.shift(np.pad(one, padding, constant_values=low), move, order=1, mode="constant", cval=low)
             for one, move in zip(volume, moves, strict=True)]  # fmt: skip
    return np.stack(moved), (int(before[0]), int(before[1]))


def _moves(
    slices: int, rows: float, columns: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """How far each slice is moved, in pixels, and the room (rows, columns) that takes before and after."""
    moves = np.outer(np.arange(slices), (rows, columns))
    before = np.ceil(np.maximum(-moves.min(axis=0), 0)).astype(int)
    after = np.ceil(np.maximum(moves.max(axis=0), 0)).astype(int)
    return moves, before, after


def _pixels(file: Path, wanted: list[SliceHeader]) -> Iterator[tuple[SliceHeader, NDArray[np.floating]]]:
    """Rescaled pixels of the slices of one file."""
    name = wanted[0].path
    dataset: Dataset | None = None
    try:
        dataset = pydicom.dcmread(file)
        if int(dataset.get("SamplesPerPixel", 1)) != 1:
            raise BadInput("the pixels are colours; expected one value a pixel", name)
        ct = wanted[0].modality == "CT"
        # a file that ends too early may lack any tag: its pixels tell
        pixels = stored_pixels(dataset, file)
        if wanted[0].frame is None:
            _check_rescaling(dataset, ct, name)
        for header in wanted:
            if header.frame is None:
                yield header, np.asarray(apply_modality_lut(pixels, dataset))
            else:
                groups = _rescaling(dataset, header.frame)
                _check_rescaling(groups, ct, name)
                yield header, _rescaled(pixels[header.frame] if pixels.ndim == 3 else pixels, groups)
    except BadInput:
        raise
    except Exception as error:  # noqa: BLE001 - of many types, none of whose texts may carry header values
        raise BadInput(
            f"this DICOM file has no readable pixels ({why_unreadable(error, dataset)}); expected {READABLE} ones",
            name,
        ) from None


def _check_rescaling(dataset: Dataset, ct: bool, name: str) -> None:
    """Refuse CT whose stored values do not say what they are in HU, and a slope that makes all values one."""
    both = "RescaleSlope" in dataset and "RescaleIntercept" in dataset
    if ct and not both and "ModalityLUTSequence" not in dataset:
        raise BadInput("the header has no RescaleSlope or no RescaleIntercept; expected both: without them a CT has no "
                       "Hounsfield units", name)  # fmt: skip
    if both and float(dataset.RescaleSlope) == 0:
        raise BadInput("RescaleSlope is 0; expected another number: all values would be the same", name)


def _rescaling(dataset: Dataset, frame: int) -> Dataset:
    """What says how the values of a frame are rescaled; empty when nothing does."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    groups = dataset.PerFrameFunctionalGroupsSequence[frame]
    found = groups.get("PixelValueTransformationSequence") or shared[0].get("PixelValueTransformationSequence")
    return found[0] if found else Dataset()


def _rescaled(pixels: NDArray[np.number], rescaling: Dataset) -> NDArray[np.floating]:
    if not rescaling:
        return np.asarray(pixels, np.float32)
    return pixels * float(rescaling.RescaleSlope) + float(rescaling.RescaleIntercept)
