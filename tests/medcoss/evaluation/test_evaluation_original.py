"""Masks go back to the grid that images and volumes came on, and are scored there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medcoss.data.originals import Original, OriginalsReader, OriginalsWriter, Placement, packed
from medcoss.data.shards import ShardReader
from medcoss.evaluation.cases import stored
from medcoss.evaluation.evaluate import evaluate
from medcoss.evaluation.metrics import dice
from medcoss.evaluation.predict import segmented_cases
from medcoss.evaluation.windows import Sliding
from medcoss.models.heads import Segmenter
from medcoss.preprocess.placement import centred, restored
from medcoss.preprocess.run import preprocess
from medcoss.preprocess.volumes import from_lps, geometry, to_label_map, to_lps
from medcoss.run import LocalRun
from medcoss.specs.postprocess import LargestComponent
from medcoss.specs.preprocess import PreprocessSpec, VolumeFolder
from medcoss.specs.recipes.glas import Glas
from medcoss.specs.recipes.lits import Lits
from medcoss.specs.training import EvaluateSpec, FinetuneSpec
from medcoss.training.finetune import finetune
from tests.medcoss.preprocess.files import image_bytes, itk_image, put, volume_bytes

# 20 degrees about the long axis, stored with rows from right to left and feet first
OBLIQUE = (-np.cos(0.35), np.sin(0.35), 0, np.sin(0.35), np.cos(0.35), 0, 0, 0, -1)


def prepared(recipe: Any, raw: Path, out: Path) -> ShardReader:
    spec = PreprocessSpec(dataset="ds_00000000", recipe=recipe)
    preprocess(spec, raw, out / "dataset", LocalRun(out / "run"), processes=1)
    return ShardReader(out / "dataset")


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def oblique_ct(folder: Path) -> tuple[sitk.Image, np.ndarray]:
    """Thick slices with a border of zeros, a liver with a tumour off its middle: image, and labels as stored."""
    shape = (16, 70, 60)
    labels = ball(shape, (8, 34, 34), (5, 16, 14)).astype(np.uint8)
    labels[ball(shape, (9, 30, 38), (2.5, 6, 5))] = 2
    hu = np.random.default_rng(0).normal(-900, 10, shape) + 1000 * (labels > 0) + 400 * (labels == 2)
    hu[:, :6], hu[:, :, 54:], hu[15:] = 0, 0, 0
    image = itk_image(hu.astype(np.int16), (0.7, 0.9, 5.0), (10.0, -20.0, 30.0), OBLIQUE)
    put(folder / "volume-0.nii.gz", volume_bytes(image))
    label = sitk.GetImageFromArray(labels)
    label.CopyInformation(image)
    put(folder / "segmentation-0.nii.gz", volume_bytes(label))
    return image, labels


def test_an_oblique_anisotropic_volume_gets_its_mask_back(tmp_path: Path) -> None:
    image, labels = oblique_ct(tmp_path / "raw")
    # all train: the fingerprint needs a case
    recipe = Lits(size=(16, 96, 64), splits={"method": "random", "val_fraction": 0, "test_fraction": 0})  # type: ignore[arg-type]
    reader = prepared(recipe, tmp_path / "raw", tmp_path)
    (group,) = {row.group for row in reader.rows}
    original = reader.original(group)
    assert original is not None
    # scored is what the files hold, voxel by voxel
    back = from_lps(to_label_map(original.mask), geometry(image))
    assert np.array_equal(sitk.GetArrayFromImage(back), labels)
    oriented = to_lps(image)
    assert original.placement.shape == oriented.GetSize()[::-1]
    assert original.placement.spacing == pytest.approx(oriented.GetSpacing()[::-1])
    assert original.placement.size == (15, 64, 54), "what is zero was cut off"
    # 15 slices of 5 mm became 50 of 1.5 mm
    assert original.placement.resampled == (50, round(64 * 0.9 / 0.8), round(54 * 0.7 / 0.8))
    # the mask of the samples, as if it were predicted
    case = stored(reader, list(range(len(reader))))
    found = np.stack([restored(one, original.placement) > 0.5 for one in case.reference.astype(np.float32)])
    scores = [dice(a, b) for a, b in zip(found, original.mask, strict=True)]
    assert scores[0] > 0.95 and scores[1] > 0.9
    for a, b in zip(found, original.mask, strict=True):
        middles = [np.array(np.nonzero(mask)).mean(axis=1) for mask in (a, b)]
        assert np.abs(middles[0] - middles[1]).max() < 0.2, "nothing is shifted"


def test_a_window_of_whole_slices_is_trained_on_and_slides_over_them(tmp_path: Path) -> None:
    """Of slices that are larger than a window, as in nnU-Net: cut at random in training, put together afterwards."""
    oblique_ct(tmp_path / "raw/one")
    splits = {"method": "random", "val_fraction": 0, "test_fraction": 0}
    data = prepared(Lits(size=(16, 96, 64), splits=splits), tmp_path / "raw", tmp_path).root  # type: ignore[arg-type]
    made = FinetuneSpec(dataset="ds_00000000", task="segmentation", size="tiny", window=(16, 32, 32), epochs=1,
                        batch_size=2, postprocess=[LargestComponent(of="liver")])  # type: ignore[arg-type] # fmt: skip
    info = finetune(made, data, None, tmp_path / "model", LocalRun(tmp_path / "trained"))
    assert info.sample_shape == [1, 16, 32, 32] and 0 <= info.metrics["train/dice"] <= 1
    assert info.postprocess == made.postprocess
    scored = EvaluateSpec(model="mdl_00000000", dataset="ds_00000000", split="train", mirror=True)
    found = evaluate(scored, tmp_path / "model", data, tmp_path / "scores", LocalRun(tmp_path / "scored"))
    assert found.grid == "original" and [row["class"] for row in found.cases] == ["liver", "tumour"]


class Bright(Segmenter):
    """Answers that bright voxels are the structure."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 50 * (x[:, :1] - (0.3 if x.ndim == 5 else 0.5))


def bright(axes: int) -> Segmenter:
    model = Bright.__new__(Bright)
    torch.nn.Module.__init__(model)
    return model


def test_volumes_are_scored_where_they_came_from(tmp_path: Path) -> None:
    shape = (20, 50, 40)
    mask = ball(shape, (9, 24, 18), (6, 14, 10))
    for name in ("a", "b"):
        put(tmp_path / f"raw/test/{name}.nii.gz", volume_bytes(itk_image(mask * 800.0 - 200, (0.7, 0.9, 3.0))))
        put(tmp_path / f"raw/test/{name}_label.nii.gz", volume_bytes(itk_image(mask.astype(np.uint8), (0.7, 0.9, 3.0))))
    recipe = VolumeFolder(modality="ct", size=(16, 32, 32), label_suffix="_label", label_names=("box",),
                          splits={"method": "folders"})  # type: ignore[arg-type] # fmt: skip
    reader = prepared(recipe, tmp_path / "raw", tmp_path)
    cases = list(segmented_cases(bright(3), reader, reader.indices("test"), Sliding((16, 32, 32), 2)))
    assert [case.name for case in cases] == sorted(reader.rows[i].group for i in (0, 2))
    for case in cases:
        assert case.original and case.spacing == pytest.approx((3.0, 0.9, 0.7))
        assert case.image.shape == case.predicted.shape == shape
        assert np.array_equal(case.reference, mask)
        assert dice(case.predicted_masks[0], mask) > 0.95
        assert case.image[mask].mean() > 0.3 > case.image[~mask].mean()


def test_images_are_scored_in_their_own_size(tmp_path: Path) -> None:
    gland = ball((90, 70), (40, 30), (25, 20))
    image = np.repeat(np.where(gland, 250, 20).astype(np.uint8)[..., None], 3, axis=2)
    put(tmp_path / "raw/testA_1.bmp", image_bytes(image, "BMP"))
    put(tmp_path / "raw/testA_1_anno.bmp", image_bytes(gland.astype(np.uint8) * 7, "BMP"))
    put(tmp_path / "raw/Grade.csv", b"name, patient ID\ntestA_1, 1\n")
    reader = prepared(Glas(size=(64, 64)), tmp_path / "raw", tmp_path)
    (case,) = segmented_cases(bright(2), reader, reader.indices(), Sliding((64, 64), 2))
    assert case.original and case.spacing == (1.0, 1.0) and case.image.shape == (90, 70)
    assert np.array_equal(case.reference_masks[0], gland)
    assert dice(case.predicted_masks[0], gland) > 0.97


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_padding_is_undone_exactly(height: int, width: int, to_height: int, to_width: int) -> None:
    array = np.random.default_rng(0).random((2, height, width)) + 1
    back = centred(centred(array, to_height, to_width, 0), height, width, 0)
    kept = back != 0
    assert np.array_equal(back[kept], array[kept])
    assert kept[0].sum() == min(height, to_height) * min(width, to_width)


def test_many_originals_are_found_by_their_groups(tmp_path: Path) -> None:
    rng, masks = np.random.default_rng(0), {}
    writer = OriginalsWriter(tmp_path)
    for number in range(150):
        masks[f"g{number}"] = mask = rng.random((2, 3, 5 + number % 4)) > 0.5
        shape = mask.shape[1:]
        writer.add(f"g{number}", Placement(shape, (1.0, 1.0), (0, 0), shape, (8, 8)), 2, packed(mask))
    writer.close()
    reader = OriginalsReader(tmp_path)
    for group, mask in masks.items():
        found = reader[group]
        assert isinstance(found, Original) and np.array_equal(found.mask, mask)
    assert reader["g150"] is None and OriginalsReader(tmp_path / "none")["g0"] is None
