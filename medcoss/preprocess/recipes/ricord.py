"""MIDRC-RICORD 1A and 1B: chest CT with and without COVID-19 (Tsai et al., Radiology 2021, TCIA, CC BY-NC 4.0).

Expected layout, at any depth: `MIDRC-RICORD-1A/ID419639-000361_date10-21-2002_2.000000-<series>.nii.gz` (covid) and
`MIDRC-RICORD-1B/...` likewise (negative), or any NIfTI below `MIDRC-RICORD-1A/MIDRC-RICORD-1A-419639-000361/`; beside
them, if they are to be followed, the split lists `RICORD_train.txt`, `RICORD_val.txt` and `RICORD_test.txt` as MedCoSS
has them, whose lines are `RICORD_nii/MIDRC-RICORD-1A/<file> <1 for covid, 0>`. With lists, a volume in none of them is
left out; without, patients are divided at random.

Samples are whole volumes, float32 (1, 64, 192, 192) by default, axes nearest to LPS, linear, in HU clipped to
[-1024, 325], less 158.58, over 324.70.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import numpy as np
import SimpleITK as sitk

from medcoss.modalities import Kind
from medcoss.preprocess import intensity
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.published import resized, volume_input
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.resampling import resize_linear
from medcoss.preprocess.volumes import Array, to_lps
from medcoss.run import BadInput
from medcoss.specs.recipes.ricord import Ricord

# in the order of the labels of the published lists
CLASSES = ("negative", "covid")
_LABEL = {"MIDRC-RICORD-1A": "covid", "MIDRC-RICORD-1B": "negative"}
_LISTS = {"RICORD_train.txt": "train", "RICORD_val.txt": "val", "RICORD_test.txt": "test"}
_PATIENT = re.compile(r"(?:ID|MIDRC-RICORD-1[AB]-)((?:\d+|SITE\d+)-\d+)")


def describe(spec: Ricord) -> Described:
    """Whole volumes of two classes."""
    return Described(Kind.VOLUME3D, (1, *spec.size), classes=CLASSES)


def plan(spec: Ricord, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume, then what the lists name and is not there."""
    splits = _splits(raw)
    missing = set(splits)
    for path in raw.files(spec.suffixes):
        key = _key(path)
        patient = _PATIENT.search(key or "")
        missing.discard(key or "")
        if key is None:
            yield Rejected(path, "lies in neither MIDRC-RICORD-1A nor MIDRC-RICORD-1B, which give the class")
        elif patient is None:
            yield Rejected(path, "the name gives no patient; expected one such as ID419639-000361_date10-21-2002_...")
        elif splits and key not in splits:
            yield LeftOut(path, "in none of the split lists")
        else:
            yield Item(path, (path,), patient=patient[1], split=splits.get(key), label=_LABEL[key.split("/")[0]])
    for key in sorted(missing):
        yield Rejected(key, "named in a split list, but there is no such volume; add it or remove the line")


def make(spec: Ricord, item: Item, raw: Raw) -> Iterator[Made]:
    """One volume."""
    image = read_volume(raw.read(item.name), item.name)
    depth, height, width = spec.size
    if spec.published:
        small = resized(image, (depth, width, height), published=True)
        array = volume_input(intensity.ricord(sitk.GetArrayFromImage(small).astype(np.float64)), published=True)
        x, y, z = small.GetSpacing()
        yield Made(array, slices=depth, spacing=(z, x, y))
        return
    image = to_lps(image)
    _, (array,) = tiled(sitk.GetArrayFromImage(image), spec)
    z, y, x = (
        s * n / new for s, n, new in zip(image.GetSpacing()[::-1], image.GetSize()[::-1], spec.size, strict=True)
    )
    yield Made(array, slices=depth, spacing=(z, y, x))


def tiled(volume: Array, spec: Ricord) -> tuple[list[int], list[Array]]:
    """The only tile (1, D, H, W) of a volume (z, y, x) in HU in LPS order; serving does the same.

    Raises BadInput with `published`, whose axes are not those of LPS.
    """
    if spec.published:
        raise BadInput("models of ricord with published=True take prepared datasets only", "model")
    return [0], [intensity.ricord(resize_linear(volume, spec.size)).astype(np.float32)[None]]


def _key(path: str) -> str | None:
    """The path from MIDRC-RICORD-1A or 1B on, as the lists have it."""
    parts = PurePosixPath(path).parts
    start = next((number for number, part in enumerate(parts[:-1]) if part in _LABEL), None)
    return None if start is None else "/".join(parts[start:])


def _splits(raw: Raw) -> dict[str, str]:
    """The published splits of volumes; empty without lists."""
    found: dict[str, str] = {}
    for path in raw.files((".txt",)):
        split = _LISTS.get(PurePosixPath(path).name)
        if split is None:
            continue
        for number, line in enumerate(_lines(raw, path), 1):
            name, _, label = line.rpartition(" ")
            key = _key(name.strip())
            if key is None or CLASSES[label == "1"] != _LABEL[key.split("/")[0]] or label not in ("0", "1"):
                raise BadInput("expected 'MIDRC-RICORD-1A/<file> 1' or 'MIDRC-RICORD-1B/<file> 0'",
                               f"{path}, line {number}")  # fmt: skip
            if found.setdefault(key, split) != split:
                raise BadInput("the volume stands in another list, too; expected it in one", f"{path}, line {number}")
    return found


def _lines(raw: Raw, path: str) -> list[str]:
    try:
        return [line.strip() for line in raw.read(path).decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise BadInput("the list is not UTF-8 text; expected the split list as published", path) from None
