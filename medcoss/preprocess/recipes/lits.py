"""LiTS: liver and liver tumours in abdominal CT (Bilic et al., Medical Image Analysis 2023, CC BY-NC-ND 4.0).

Expected layout, at any depth: `volume-0.nii` and `segmentation-0.nii` in the same folder (0 background, 1 liver,
2 tumour), gzipped or not. `test-volume-0.nii` has no labels and is left out. Patients are not known: the content of a
volume stands for its patient.

By the rules of nnU-Net's first version: axes nearest to LPS, cut to what is not zero, 1.5 x 0.8 x 0.8 mm (z, y, x),
cubic, labels each by itself, intensities by the fingerprint of the training cases. Samples are tiles, float32
(1, 16, 512, 512) by default, a whole slice each, padded by the lowest value of the volume, with a mask uint8
(2, D, H, W): the liver with its tumours, and the tumours.
"""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import SimpleITK as sitk

from medcoss.data.originals import Placement
from medcoss.modalities import Kind
from medcoss.preprocess import intensity
from medcoss.preprocess.nnunet import LITS_SPACING, Array, Fingerprint, Foreground, normalise_ct
from medcoss.preprocess.raw import Raw
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.segmentation import Resampled, original, read_case, recorded, resampled, tiles, whole
from medcoss.specs.recipes.lits import Lits

_NAME = re.compile(r"(volume|segmentation|test-volume)-(\d+)(\.nii(?:\.gz)?)", re.I)
_LABELS = 2


def describe(spec: Lits) -> Described:
    """Tiles with two mask channels."""
    return Described(Kind.VOLUME3D, (1, *spec.size), classes=("liver", "tumour"), has_masks=True)


def plan(spec: Lits, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume with a label map."""
    for path in raw.files(spec.suffixes):
        match = _NAME.fullmatch(PurePosixPath(path).name)
        if match is None:
            yield Rejected(path, "expected a name such as volume-0.nii or segmentation-0.nii")
        elif match[1].lower() == "test-volume":
            yield LeftOut(path, "a volume of the test set without labels")
        elif match[1].lower() == "volume":
            stem = PurePosixPath(path).parent / f"segmentation-{match[2]}"
            labels = next((f"{stem}{end}" for end in (match[3], *spec.suffixes) if raw.has(f"{stem}{end}")), None)
            if labels is None:
                yield Rejected(path, f"there is no label map {stem}{match[3]}")
            else:
                yield Item(path, (path, labels))


def survey(spec: Lits, item: Item, raw: Raw) -> Any:
    """How often each HU is found in liver and tumour: the first HU, and the counts from there on."""
    if spec.intensity == "window":
        return None
    cut, found = read_case(raw, item.files, _LABELS).cut, Foreground()
    found.add(cut.volume, cut.labels)
    (places,) = np.nonzero(found.counts)
    if not len(places):
        return None
    first = int(places[0])
    return {"first": first, "counts": found.counts[first : int(places[-1]) + 1].tolist()}


def conclude(spec: Lits, surveyed: Iterator[tuple[Item, Any]]) -> Any:
    """The fingerprint of the training cases. Raises BadInput without any."""
    gathered = Foreground()
    for item, found in surveyed:
        if found is not None and item.split == "train":
            gathered.counts[found["first"] : found["first"] + len(found["counts"])] += np.array(found["counts"])
    return None if spec.intensity == "window" else vars(gathered.fingerprint())


def make(spec: Lits, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one volume."""
    read = read_case(raw, item.files, _LABELS)
    case = resampled(read, LITS_SPACING)
    volume, fill = _normalised(case, spec, raw.findings)
    yield from tiles(
        volume, intensity.lits_channels(case.labels), case.spacing, spec, fill, item.name,
        original(read, intensity.lits_channels(read.labels), volume.shape),
    )  # fmt: skip


def served(image: sitk.Image, spec: Lits, findings: Any) -> tuple[Array, Placement]:
    """What tiles are cut of, (1, D, H, W), of a CT in HU in LPS order, and where it lies; serving slides over it."""
    return whole(image, LITS_SPACING, spec.size, lambda case: _normalised(case, spec, findings))


def _normalised(case: Resampled, spec: Lits, findings: Any) -> tuple[Array, float]:
    """Intensities, and the value that slices are padded with."""
    if spec.intensity == "window":
        volume = intensity.lits(case.volume).astype(np.float32)
    else:
        volume = normalise_ct(case.volume, Fingerprint(**recorded(findings)))
    return volume, float(volume.min())
