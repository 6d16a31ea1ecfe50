"""What a segmenter's `predict` job says of a prepared dataset: a mask a case, on the grid that the dataset knows."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from medcoss.data.shards import Sample, ShardReader
from medcoss.evaluation.embed import chosen
from medcoss.evaluation.predict import Case, segmented_cases
from medcoss.evaluation.windows import Sliding
from medcoss.modalities import Kind
from medcoss.models.heads import Segmenter
from medcoss.preprocess.volumes import nifti_bytes
from medcoss.specs.inference import PredictSpec
from medcoss.specs.names import VOLUME_SUFFIXES, stem_of
from medcoss.specs.records import ModelInfo

# in names of files
_OTHER = re.compile(r"[^\w./+-]+")


@dataclass(frozen=True)
class Group:
    """The samples of one image or volume, by their places in the dataset, the first of them, and the mask's name."""

    first: Sample
    members: NDArray[np.int64]
    mask: str


def groups(reader: ShardReader, spec: PredictSpec) -> Iterator[Group]:
    """The images or volumes of the split, in the order of the dataset; masks are named after their files."""
    found: dict[str, list[int]] = {}
    for index in chosen(reader, spec.split):
        found.setdefault(reader.rows[int(index)].group, []).append(int(index))
    taken: set[str] = set()
    for members in found.values():
        first = reader.rows[members[0]]
        volume = reader.info.kind is Kind.VOLUME3D
        known = volume and first.source.lower().endswith(VOLUME_SUFFIXES)
        stem, ending = stem_of(first.source) if known else first.source, ".nii.gz" if volume else ".png"
        stem = "/".join(_OTHER.sub("_", part) for part in stem.split("/") if part not in {"", ".", ".."})
        # a file may hold several
        stem = f"{stem}-{first.id}" if not stem or f"{stem}{ending}" in taken else stem
        taken.add(f"{stem}{ending}")
        yield Group(first, np.array(members), f"masks/{stem}{ending}")


def mask_of(group: Group, reader: ShardReader, model: Segmenter, info: ModelInfo, batch_size: int
            ) -> tuple[bytes, list[float]]:  # fmt: skip
    """The label map of a case as a file, and what each class covers: ml of a volume, pixels of an image.

    A volume has axes x, y, z to left, back and head (LPS), its spacing, and its first voxel at 0: where it lay in the
    patient is not stored.
    """
    how = Sliding(tuple(info.sample_shape[1:]), batch_size)
    (case,) = segmented_cases(model, reader, group.members, how, info.postprocess, info.classes or [])
    if reader.info.kind is Kind.VOLUME3D and not case.original:
        case.predicted_masks[:, ~_covered(group, reader)] = False
    return (_nifti if reader.info.kind is Kind.VOLUME3D else _png)(case)


def _covered(group: Group, reader: ShardReader) -> NDArray[np.bool_]:
    """Of each slice whether a sample shows it: preprocessing without labels leaves those at the ends out."""
    covered = np.zeros(group.first.slices, bool)
    for index in group.members:
        start = reader.rows[int(index)].offset
        covered[start : start + reader.info.sample_shape[1]] = True
    return covered


def _png(case: Case) -> tuple[bytes, list[float]]:
    file = io.BytesIO()
    Image.fromarray(case.predicted).save(file, format="PNG")
    return file.getvalue(), [float(np.count_nonzero(mask)) for mask in case.predicted_masks]


def _nifti(case: Case) -> tuple[bytes, list[float]]:
    image = sitk.GetImageFromArray(case.predicted)
    image.SetSpacing(tuple(reversed(case.spacing)))
    voxel_ml = float(np.prod(case.spacing)) / 1000
    return nifti_bytes(image), [float(np.count_nonzero(mask) * voxel_ml) for mask in case.predicted_masks]
