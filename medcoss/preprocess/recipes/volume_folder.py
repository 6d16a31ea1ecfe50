"""Any folder of NIfTI (MHA, NRRD) volumes; label maps beside them are marked by a file-name suffix.

Expected layout: `[train|validation|test]/case.nii.gz` and, with `label_suffix`,
`case<suffix>.nii.gz` on the same grid and in the same place. Volumes are turned to LPS, their slices resized,
and cut into tiles (1, D, H, W), float32 after the intensity rule; masks are uint8
(K, D, H, W), one channel for each label value.
"""

import itertools
import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medcoss.data.shards import Sample, ShardWriter
from medcoss.modalities import Kind
from medcoss.preprocess.inputs import Report, assign_splits, raw_files, step
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.volumes import inner_slices, mask_tiles_of, tiles_of, to_lps
from medcoss.run import BadInput, RunContext
from medcoss.specs.preprocess import PreprocessOptions, VolumeFolder
from medcoss.specs.raw import VOLUME_SUFFIXES, has_suffix, stem_of, volumes_of
from medcoss.specs.records import DatasetInfo


def _label_map(raw: Path, path: str, image: sitk.Image, recipe: VolumeFolder) -> NDArray[np.uint8]:
    label = read_volume((raw / path).read_bytes(), path)
    if label.GetSize() != image.GetSize():
        raise BadInput(
            f"the label map has {label.GetSize()} voxels, its volume {image.GetSize()}; expected the same grid", path
        )
    if _offset_mm(label, image) > min(image.GetSpacing()) / 2:
        raise BadInput(
            "the label map lies elsewhere than its volume (origin, spacing or direction differ); expected the same "
            "grid: copy the volume's geometry only if the voxels really match",
            path,
        )
    label.CopyInformation(image)
    values = sitk.GetArrayFromImage(to_lps(label))
    known = len(recipe.label_names)
    found = np.unique(values)
    if found.min() < 0 or found.max() > known or not np.array_equal(found, np.round(found)):
        raise BadInput(
            f"the label map holds the values {', '.join(f'{v:g}' for v in found[:8])}; expected whole numbers "
            f"0 to {known} (label_names has {known} entries)",
            path,
        )
    return values.astype(np.uint8)


def _offset_mm(label: sitk.Image, image: sitk.Image) -> float:
    """Largest distance in mm between the places of a corner in two images of the same size."""
    corners = itertools.product(*((0, n - 1) for n in image.GetSize()))
    pairs = [[i.TransformIndexToPhysicalPoint(corner) for i in (label, image)] for corner in corners]
    return max(math.dist(*pair) for pair in pairs)


def _add_volume(raw: Path, path: str, label_path: str | None, split: str, recipe: VolumeFolder,
                writer: ShardWriter) -> None:  # fmt: skip
    image = read_volume((raw / path).read_bytes(), path)
    oriented = to_lps(image)
    volume = sitk.GetArrayFromImage(oriented).astype(np.float32)
    spacing_x, spacing_y, spacing_z = oriented.GetSpacing()
    masks: list[NDArray[np.uint8]] | None = None
    if label_path:
        masks = mask_tiles_of(_label_map(raw, label_path, image, recipe), len(recipe.label_names), recipe)
    slices, used = len(volume), inner_slices(len(volume), recipe)
    volume = volume[used]
    starts, tiles = tiles_of(volume, recipe)
    for number, (start, tile) in enumerate(zip(starts, tiles, strict=True)):
        sample = Sample(
            id=f"{len(writer):07d}",
            split=split,
            source=path,
            group=stem_of(path),
            offset=used.start + start,
            slices=slices,
            spacing_z=spacing_z,
            spacing_y=spacing_y * volume.shape[1] / recipe.size[1],
            spacing_x=spacing_x * volume.shape[2] / recipe.size[2],
        )
        writer.add(sample, tile, None if masks is None else masks[number])


def build(spec: PreprocessOptions, recipe: VolumeFolder, raw: Path, writer: ShardWriter, report: Report,
          context: RunContext) -> DatasetInfo:  # fmt: skip
    """Write the tiles of each volume below `raw` and describe the dataset."""
    files = raw_files(raw)
    found = volumes_of(files, recipe)
    volumes, labels, twice = found.volumes, found.labels, found.twice
    report.inputs = len(volumes) + len(twice)
    report.ignored = [path for path in files if not has_suffix(path, VOLUME_SUFFIXES)]
    report.ignored += [path for stem, path in labels.items() if stem not in volumes]
    for path in twice:
        report.reject(path, BadInput(f"{volumes[stem_of(path)]} has the same name; keep one of them", path))
    splits = assign_splits({path: stem for stem, path in volumes.items()}, recipe.splits, spec.seed)
    for done, (stem, path) in enumerate(volumes.items()):
        step(context, done, len(volumes), path)
        try:
            if recipe.label_suffix and stem not in labels:
                raise BadInput(f"there is no label map with the suffix '{recipe.label_suffix}' beside it", path)
            _add_volume(raw, path, labels.get(stem), splits[path], recipe, writer)
        except BadInput as error:
            report.reject(error.where or path, error)
    return DatasetInfo(
        modality=recipe.modality,
        kind=Kind.VOLUME3D,
        samples=len(writer),
        splits=writer.split_counts(),
        labelled=writer.labelled_counts(),
        classes=list(recipe.label_names) or None,
        has_masks=bool(recipe.label_suffix),
        sample_shape=[1, *recipe.size],
        recipe=recipe.model_dump(mode="json"),
    )
