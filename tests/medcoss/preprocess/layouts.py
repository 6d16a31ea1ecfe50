"""Small generated files of the public datasets, laid out and named as they are published.

What is to be found stands out by its brightness; by default every case is the same, and parameters move it or make it
larger, where a model is to learn of them.
"""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from tests.medcoss.preprocess.files import image_bytes, itk_image, put, volume_bytes

RNG = np.random.default_rng(8)
LITS_VOXEL = {"spacing": (0.8, 0.8, 3.0)}
# as published: blanks within the header and before the values
GLAS_GRADES = (
    "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\r\n"
    "testA_1,5, benign, adenomatous\r\ntestB_1,7, malignant, moderately differentiated\r\n"
    "train_1,1, benign, healthy\r\ntrain_2,5, malignant, poorly differentiated\r\ntrain_3,2, benign, healthy\r\n"
)
RICORD_A, RICORD_B = "RICORD_nii/MIDRC-RICORD-1A", "RICORD_nii/MIDRC-RICORD-1B"
NCT_CLASSES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")


def put_qata(folder: Path, name: str, mask: bool = True, by: int = 0) -> None:
    """A radiograph of QaTa-COV19 in the folder of a set, with its ground truth; the infection lies `by` lower."""
    image = RNG.integers(0, 90, (56, 56), dtype=np.uint8)
    image[8 + by : 24 + by, 30:50] += 150
    put(folder / "Images" / name, image_bytes(image))
    if mask:
        # values as a lossy copy leaves them
        truth = np.where(image > 120, 250, 6).astype(np.uint8)
        put(folder / "Ground-truths" / f"mask_{name}", image_bytes(truth))


def put_glas(folder: Path, name: str, annotated: bool = True, by: int = 0) -> None:
    """An image of GlaS with two glands, which lie `by` pixels to the right, and its annotation."""
    glands = np.zeros((522, 775), np.uint8)
    glands[50:200, 100:300], glands[250:400, 400:700] = 1, 2
    glands = np.roll(glands, by, axis=1)
    image = np.stack([np.where(glands, 220, 30), np.full_like(glands, 80), np.full_like(glands, 140)], axis=2)
    put(folder / f"{name}.bmp", image_bytes(image.astype(np.uint8), "BMP"))
    if annotated:
        put(folder / f"{name}_anno.bmp", image_bytes(glands, "BMP"))


def lits_labels(shape: tuple[int, int, int] = (12, 40, 48)) -> NDArray[np.uint8]:
    """A liver (1) with a tumour (2) in it, (z, y, x)."""
    found = np.zeros(shape, np.uint8)
    found[2:10, 10:30, 10:30], found[4:8, 15:25, 15:25] = 1, 2
    return found


def put_lits(folder: Path, number: int, level: int, label: NDArray[np.uint8] | None, suffix: str = ".nii") -> None:
    """A volume of LiTS, 1000 HU around `level` in the liver, with a label map of its own unless that is None."""
    hu = RNG.integers(-1000, -900, (12, 40, 48)).astype(np.int16)
    inside = lits_labels() > 0
    hu[inside] = level + np.arange(inside.sum()) % 1000 - 500
    put(folder / f"volume-{number}{suffix}", volume_bytes(itk_image(hu, **LITS_VOXEL), suffix))
    if label is not None:
        put(folder / f"segmentation-{number}{suffix}", volume_bytes(itk_image(label, **LITS_VOXEL), suffix))


def put_large_lits(folder: Path, number: int, by: int) -> None:
    """A volume of LiTS four times as large, 48 x 160 x 192 voxels of the recipe's own size, `by` lower in the slice:
    -950 HU, 60 in the liver, 500 in the tumour, with noise.
    """
    labels = np.roll(lits_labels().repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2), by, axis=1)
    hu = np.array([-950, 60, 500])[labels] + RNG.integers(-40, 40, labels.shape)
    for name, voxels in (("volume", hu.astype(np.int16)), ("segmentation", labels)):
        put(folder / f"{name}-{number}.nii", volume_bytes(itk_image(voxels, (0.8, 0.8, 1.5)), ".nii"))


def vs_head(
    spacing: tuple[float, float, float] = (0.5, 0.5, 1.5), times: tuple[int, int, int] = (1, 1, 1), contrast: float = 0
) -> tuple[sitk.Image, sitk.Image]:
    """A head with a tumour, and its labels. Of 20 x 40 x 40 voxels 16 x 24 x 24 are not 0, 0.41 of the volume.

    The voxels of each axis are repeated `times`; `contrast` makes the tumour brighter.
    """
    voxels = np.zeros((20, 40, 40), np.float32)
    voxels[2:18, 8:32, 8:32] = RNG.normal(300, 50, (16, 24, 24))
    labels = np.zeros(voxels.shape, np.uint8)
    labels[6:10, 12:20, 14:22] = 1
    voxels[labels > 0] += contrast
    for axis, count in enumerate(times):
        voxels, labels = voxels.repeat(count, axis), labels.repeat(count, axis)
    return itk_image(voxels, spacing), itk_image(labels, spacing)


def put_vs(folder: Path, head: tuple[sitk.Image, sitk.Image], sequences: str = "12") -> None:
    """A patient of Vestibular-Schwannoma-SEG as the publishers' converter makes the folder."""
    image, labels = head
    for sequence in sequences:
        put(folder / f"vs_gk_t{sequence}_refT{sequence}.nii.gz", volume_bytes(image))
        put(folder / f"vs_gk_seg_refT{sequence}.nii.gz", volume_bytes(labels))
    put(folder / "vs_gk_t1_refT2.nii.gz", volume_bytes(image))


def ricord_scan(shape: tuple[int, int, int] = (20, 40, 48), lungs: int | None = None) -> sitk.Image:
    """A chest CT of noise; `lungs` is the density of a large part of it in HU."""
    voxels = RNG.integers(-1200, 1500, shape).astype(np.int16)
    if lungs is not None:
        voxels[2:18, 4:36, 4:44] = lungs
    return itk_image(voxels, spacing=(0.8, 0.8, 3.0))


def put_nct(folder: Path, name: str, tile: NDArray[np.uint8], number: int) -> None:
    """A tile of the class `name` in one of the sets of NCT-CRC-HE."""
    put(folder / name / f"{name}-TCGA{number}.tif", image_bytes(tile, "TIFF"))


def pubmed_abstract(number: int, sentences: dict[str, str]) -> str:
    """An abstract of PubMed 20k RCT: the roles of its sentences and the sentences."""
    lines = "".join(f"{role}\t{sentence}\n" for role, sentence in sentences.items())
    return f"###{number}\n{lines}\n"
