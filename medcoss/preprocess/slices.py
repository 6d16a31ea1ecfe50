"""Volumes from folders of 16-bit PNG slices and the `DL_info.csv` beside them, as DeepLesion is released.

Source: Yan et al., DeepLesion (NIH Clinical Center, 2018). A folder `<patient>_<study>_<series>` holds `<slice>.png`,
numbers growing towards the feet, stored value = HU + 32768. A folder holds the slices around each key slice only, so
that its numbers may have gaps.
"""

import csv
import io
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from medcoss.preprocess.io import describe
from medcoss.run import BadInput

HU_OFFSET = 32768
_COLUMNS = ("File_name", "Patient_index", "Spacing_mm_px_", "Train_Val_Test")
_SPLITS = {"1": "train", "2": "val", "3": "test"}
_FILE_NAME = re.compile(r"(.+)_(\d+)\.png", re.I)


@dataclass(frozen=True)
class SliceSeries:
    """What `DL_info.csv` says of a series: voxel `spacing` in mm (z, y, x), whose it is, and its published split."""

    spacing: tuple[float, float, float]
    patient: str
    split: str


@dataclass(frozen=True)
class RowFault:
    """A row that cannot be used: `where` it is, the `reason`, and the folder name of its `series` if it has one."""

    where: str
    reason: str
    series: str


def read_dl_info(data: bytes, filename: str, faults: list[RowFault] | None = None) -> dict[str, SliceSeries]:
    """The series of `DL_info.csv` by folder name; a row is a lesion, so that a series may have several.

    Rows with values that are none, and rows that contradict an earlier one of their series, which then is not among
    the series, go to `faults`. Raises BadInput naming `filename` for missing columns and, without `faults`, the line
    of the first of these rows.
    """
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError:
        raise BadInput("this is not UTF-8 text; expected the DL_info.csv of DeepLesion", filename) from None
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
    if missing:
        raise BadInput(f"there is no column {', '.join(missing)}; expected the columns of DeepLesion", filename)
    found: dict[str, SliceSeries] = {}
    contradicted: set[str] = set()
    for row in reader:
        where = f"{filename}, line {reader.line_num}"
        name = _FILE_NAME.fullmatch((row["File_name"] or "").strip())
        try:
            if name is None:
                raise BadInput("File_name is not <series>_<slice>.png", where)
            series = _series(row, where)
            if found.setdefault(name[1], series) != series:
                contradicted.add(name[1])
                raise BadInput(f"spacing, patient or split of {name[1]} differ from an earlier line", where)
        except BadInput as error:
            if faults is None:
                raise
            faults.append(RowFault(where, error.message, name[1] if name else ""))
    return {name: series for name, series in found.items() if name not in contradicted}


def _series(row: dict[str, str], where: str) -> SliceSeries:
    split = _SPLITS.get((row["Train_Val_Test"] or "").strip())
    if split is None:
        raise BadInput("Train_Val_Test is not 1, 2 or 3 (train, val, test)", where)
    return SliceSeries(_spacing(row["Spacing_mm_px_"] or "", where), (row["Patient_index"] or "").strip(), split)


def _spacing(text: str, where: str) -> tuple[float, float, float]:
    """Spacing (z, y, x) of 'x, y, z'."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise BadInput("Spacing_mm_px_ does not hold three numbers: x, y and slice distance in mm", where) from None
    if not all(math.isfinite(s) and s > 0 for s in (x, y, z)):
        raise BadInput(f"Spacing_mm_px_ is {x:g}, {y:g}, {z:g}; expected three lengths above 0 mm", where)
    return (z, y, x)


def slice_runs(paths: Iterable[str]) -> list[list[str]]:
    """The slices `<folder>/<number>.png` of one series in order, divided where numbers are missing.

    Raises BadInput for names that are no number, and for a number that two files have.
    """
    numbers: dict[int, str] = {}
    for path in paths:
        stem = PurePosixPath(path).stem
        if not stem.isdecimal():
            raise BadInput("the file is not named by its slice number, as in 012.png", path)
        other = numbers.setdefault(int(stem), path)
        if other != path:
            raise BadInput(f"{other} has the same slice number; keep one of them", path)
    runs: list[list[str]] = []
    for number in sorted(numbers):
        if number - 1 not in numbers:
            runs.append([])
        runs[-1].append(numbers[number])
    return runs


def read_slice(data: bytes, filename: str) -> NDArray[np.int16]:
    """HU (H, W) of a 16-bit PNG slice. Raises BadInput naming `filename`."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            if not image.mode.startswith("I"):
                raise BadInput(f"this is a PNG of mode {image.mode}; expected 16-bit grey (HU + 32768)", filename)
            return (np.asarray(image).astype(np.int32) - HU_OFFSET).astype(np.int16)
    except BadInput:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise BadInput(f"this is {describe(data)}, damaged or no PNG; expected a 16-bit PNG", filename) from None


def volume_of_slices(slices: list[NDArray[np.int16]], spacing: tuple[float, float, float], where: str) -> sitk.Image:
    """The volume of the slices of a run, in HU, int16, `spacing` in mm (z, y, x); the first slice is topmost.

    Rows run to posterior, columns to left, slices to inferior: `to_lps` turns the last around. Raises BadInput naming
    `where` when sizes differ.
    """
    shapes = {one.shape for one in slices}
    if len(shapes) != 1:
        told = ", ".join(f"{height} x {width}" for height, width in sorted(shapes))
        raise BadInput(f"the slices have different sizes ({told}); expected one", where)
    image = sitk.GetImageFromArray(np.stack(slices))
    image.SetSpacing(spacing[::-1])
    image.SetDirection((1, 0, 0, 0, 1, 0, 0, 0, -1))
    return image
