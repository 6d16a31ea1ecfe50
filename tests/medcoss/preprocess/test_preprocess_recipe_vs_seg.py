"""Vestibular schwannoma: folders of patients, or nnU-Net's, on the median spacing of the training cases."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.preprocess.nnunet import median_spacing
from medcoss.specs.recipes.vs_seg import VsSeg
from tests.medcoss.preprocess.files import Prepare, itk_image, put, volume_bytes

SIZE = (16, 64, 64)
RNG = np.random.default_rng(4)


def head(spacing: tuple[float, float, float] = (0.5, 0.5, 1.5)) -> tuple[sitk.Image, sitk.Image]:
    """Of 20 x 40 x 40 voxels 16 x 24 x 24 are not 0, 0.41 of the volume."""
    voxels = np.zeros((20, 40, 40), np.float32)
    voxels[2:18, 8:32, 8:32] = RNG.normal(300, 50, (16, 24, 24))
    labels = np.zeros(voxels.shape, np.uint8)
    labels[6:10, 12:20, 14:22] = 1
    return itk_image(voxels, spacing), itk_image(labels, spacing)


def put_patient(folder: Path, spacing: tuple[float, float, float] = (0.5, 0.5, 1.5)) -> None:
    image, labels = head(spacing)
    for sequence in ("1", "2"):
        put(folder / f"vs_gk_t{sequence}_refT{sequence}.nii.gz", volume_bytes(image))
        put(folder / f"vs_gk_seg_refT{sequence}.nii.gz", volume_bytes(labels))
    put(folder / "vs_gk_t1_refT2.nii.gz", volume_bytes(image))


@pytest.mark.parametrize("sequence", ["T1", "T2"])
def test_folders_of_patients(raw: Path, prepare: Prepare, sequence: str) -> None:
    for number in range(1, 6):
        put_patient(raw / "VS-SEG" / f"vs_gk_{number}")
    (raw / "VS-SEG" / "vs_gk_5" / f"vs_gk_seg_ref{sequence}.nii.gz").unlink()
    reader, report = prepare(VsSeg(size=SIZE, sequence=sequence))
    names = {f"VS-SEG/vs_gk_{n}/vs_gk_{sequence.lower()}_ref{sequence}.nii.gz" for n in range(1, 5)}
    assert {row.source for row in reader.rows} == names
    assert len({row.source for row in reader.rows if row.split == "test"}) == 1
    assert ["/vs_gk_5/" in entry["path"] for entry in report["bad_files"]] == [True]
    other = {"T1": "vs_gk_t2_refT2.nii.gz", "T2": "vs_gk_t1_refT1.nii.gz"}[sequence]
    assert {Path(entry["path"]).name for entry in report["left_out"]} == {other, "vs_gk_t1_refT2.nii.gz"}
    image, mask = reader.stored_image(0)[0], reader.mask(0)
    assert mask is not None
    # cut to what is not 0, and as little is left only that is scored; a slice lies in the middle of its tile
    inside = image[:, 20:44, 20:44]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-4)
    assert np.count_nonzero(image) == inside.size
    expected = np.zeros((1, *SIZE), np.uint8)
    expected[0, 4:8, 24:32, 26:34] = 1
    assert np.array_equal(mask, expected)


def test_the_layout_of_nnunet_and_the_median_spacing(raw: Path, prepare: Prepare) -> None:
    spacings = {"a": (0.5, 0.5, 1.5), "b": (0.5, 0.5, 1.5), "c": (1.0, 1.0, 1.5), "d": (0.5, 0.5, 1.5)}
    for name, spacing in spacings.items():
        image, labels = head(spacing)
        put(raw / "Task061_VSseg" / "imagesTr" / f"{name}_0000.nii.gz", volume_bytes(image))
        put(raw / "Task061_VSseg" / "labelsTr" / f"{name}.nii.gz", volume_bytes(labels))
    put(raw / "Task061_VSseg" / "imagesTr" / "alone_0000.nii.gz", volume_bytes(image))
    reader, report = prepare(VsSeg(size=SIZE))
    assert [Path(entry["path"]).name for entry in report["bad_files"]] == ["alone_0000.nii.gz"]
    assert {row.spacing for row in reader.rows} == {(1.5, 0.5, 0.5)}
    assert len({row.patient for row in reader.rows}) == 4
    tumour = {Path(row.source).name[0]: reader.mask(n).sum() for n, row in enumerate(reader.rows)}  # type: ignore[union-attr]
    # twice the voxels an in-plane axis
    assert tumour["c"] == 4 * tumour["a"]


def test_a_coarse_axis_is_not_made_coarser_than_need_be() -> None:
    spacings = np.array([[z, 0.5, 0.5] for z in (2.0, 4.0, 6.0)])
    shapes = np.array([[30, 200, 200]] * 3)
    assert median_spacing(spacings, shapes) == pytest.approx((2.4, 0.5, 0.5))
    # as many slices as rows: the axis is no stack of thick slices
    assert median_spacing(spacings, shapes * [5, 1, 1]) == (4.0, 0.5, 0.5)
