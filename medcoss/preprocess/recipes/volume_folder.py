"""Any folder of NIfTI (MHA, NRRD) volumes; label maps beside them are marked by a file-name suffix.

Expected layout: `[train|validation|test]/case.nii.gz` and, with `label_suffix`,
`case<suffix>.nii.gz` on the same grid and in the same place. Volumes are turned to LPS, their slices resized,
and cut into tiles (1, D, H, W), float32 after the intensity rule; masks are uint8
(K, D, H, W), one channel for each label value.
"""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.data.originals import Original
from medcoss.modalities import Kind
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.label_maps import read_label_map
from medcoss.preprocess.patients import patient_of
from medcoss.preprocess.raw import Raw, folder_split
from medcoss.preprocess.recipe import Described, Item, LeftOut, Made, Rejected
from medcoss.preprocess.volumes import Array, inner_slices, labelled_original, mask_tiles_of, tiles_of, to_lps
from medcoss.run import BadInput
from medcoss.specs.names import VOLUME_SUFFIXES, stem_of
from medcoss.specs.recipes.volume_folder import VolumeFolder


def describe(spec: VolumeFolder) -> Described:
    """Tiles of volumes, with a mask channel for each label."""
    return Described(
        Kind.VOLUME3D, (1, *spec.size),
        classes=spec.label_names or None, has_masks=bool(spec.label_suffix),
        cohort=spec.cohort,
    )  # fmt: skip


def plan(spec: VolumeFolder, raw: Raw) -> Iterator[Item | Rejected | LeftOut]:
    """An item for every volume that is not a label map."""
    for path in raw.files(spec.suffixes):
        stem = stem_of(path)
        if spec.label_suffix and stem.endswith(spec.label_suffix):
            continue
        last = max([path, *raw.named(stem, VOLUME_SUFFIXES)])
        if path != last:
            yield Rejected(path, f"{last} has the same name; keep one of them")
            continue
        patient = patient_of(path, spec.patient_pattern)
        if isinstance(patient, Rejected):
            yield patient
            continue
        labels = raw.named(stem + spec.label_suffix, VOLUME_SUFFIXES)[-1:] if spec.label_suffix else []
        split = folder_split(path) if spec.splits.method == "folders" else None
        yield Item(path, files=(path, *labels), group=stem, patient=patient, split=split)


def make(spec: VolumeFolder, item: Item, raw: Raw) -> Iterator[Made]:
    """The tiles of one volume."""
    path, *labels = item.files
    if spec.label_suffix and not labels:
        raise BadInput(f"there is no label map with the suffix '{spec.label_suffix}' beside it", path)
    image = read_volume(raw.read(path), path)
    oriented = to_lps(image)
    volume = sitk.GetArrayFromImage(oriented).astype(np.float32)
    spacing_x, spacing_y, spacing_z = oriented.GetSpacing()
    masks: list[NDArray[np.uint8]] | None = None
    original: Original | None = None
    if labels:
        known = len(spec.label_names)
        values = read_label_map(raw, labels[0], image, known, f" (label_names has {known} entries)")
        masks = mask_tiles_of(values, known, spec)
        original = labelled_original(values, known, (spacing_z, spacing_y, spacing_x), spec.size)
    starts, tiles = tiled(volume, spec)
    spacing = (spacing_z, spacing_y * volume.shape[1] / spec.size[1], spacing_x * volume.shape[2] / spec.size[2])
    for number, (start, tile) in enumerate(zip(starts, tiles, strict=True)):
        yield Made(tile, None if masks is None else masks[number], offset=start, slices=len(volume), spacing=spacing,
                   original=original if number == 0 else None)  # fmt: skip


def tiled(volume: Array, spec: VolumeFolder) -> tuple[list[int], list[Array]]:
    """The first slices and the tiles (1, D, H, W) of a volume (z, y, x) in LPS order; serving does the same."""
    used = inner_slices(len(volume), spec)
    starts, tiles = tiles_of(volume[used], spec)
    return [used.start + start for start in starts], tiles
