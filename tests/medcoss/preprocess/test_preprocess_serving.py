"""What a server feeds the model is, to the bit, what training stored for the same file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import SPECIAL, Tokenizer
from medcoss.modalities import Kind
from medcoss.preprocess.io import read_volume
from medcoss.preprocess.received import File, received_volume
from medcoss.preprocess.run import preprocess
from medcoss.preprocess.serving import ServingPipeline
from medcoss.preprocess.sliding import Windows, assembled
from medcoss.run import BadInput, LocalRun
from medcoss.specs.preprocess import ImageFolder, OpeniReports, PreprocessSpec, Recipe, VolumeFolder
from medcoss.specs.recipes.dicom_export import DicomExport
from medcoss.specs.recipes.lits import Lits
from tests.medcoss.preprocess.files import image_bytes, itk_image, put
from tests.medcoss.preprocess.layouts import lits_labels, put_lits


def prepared(recipe: Recipe, raw: Path, tmp_path: Path) -> tuple[ShardReader, ServingPipeline]:
    """A dataset of `raw`, and the pipeline of the recipe that was stored with it."""
    spec = PreprocessSpec(dataset="ds_00000000", recipe=recipe, max_bad_fraction=0)
    info = preprocess(spec, raw, tmp_path / "dataset", LocalRun(tmp_path / "run"))
    return ShardReader(tmp_path / "dataset"), ServingPipeline(info.recipe, info.kind, info.findings)


def test_xrays_are_served_as_they_were_trained(real_data: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for path in [
        sorted((real_data / "xray" / "train" / "normal").glob("*.jpg"))[0],
        real_data / "xray" / "dicom" / "cr_mono1_10bit_real.dcm",
    ]:
        put(raw / path.name, path.read_bytes())
    put(raw / "deep.png", image_bytes(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 30))
    reader, pipeline = prepared(ImageFolder(size=(96, 64)), raw, tmp_path)
    for i, row in enumerate(reader.rows):
        served = pipeline.image((raw / row.source).read_bytes(), row.source)
        assert served.shape == (1, 3, 96, 64)
        assert np.array_equal(served[0], reader.image(i))


@pytest.mark.parametrize("suffix", [None, "_label"], ids=["without label maps", "with label maps"])
def test_volumes_are_served_as_they_were_trained(real_data: Path, tmp_path: Path, suffix: str | None) -> None:
    case = (real_data / "la_mr" / "test.list").read_text().split()[0]
    raw = tmp_path / "raw"
    raw.mkdir()
    for ending in ("", suffix) if suffix else ("",):
        shutil.copy(real_data / "la_mr" / f"{case}{ending}.nii.gz", raw)
    recipe = VolumeFolder(size=(16, 48, 32), label_suffix=suffix, label_names=("atrium",) if suffix else ())
    reader, pipeline = prepared(recipe, raw, tmp_path)
    data = (raw / f"{case}.nii.gz").read_bytes()
    request = pipeline.volume(data, "x.nii.gz")
    assert request.starts == [row.offset for row in reader.rows]
    assert np.array_equal(request.windows, np.stack([reader.image(i) for i in range(len(reader))]))
    if suffix:
        # the label map's own tiles, answered as a perfect model would, come back as the label map
        tiles = np.stack([reader.mask(i) for i in range(len(reader))]).astype(np.float32)
        whole = pipeline.segmented(read_volume(data, "x.nii.gz"), recipe.size)
        assert np.array_equal(np.concatenate([*whole.batches(3)]), request.windows)
        restored = whole.restore([tiles])
        mask = sitk.ReadImage(str(put(tmp_path / "mask.nii.gz", request.to_nifti(restored))))
        truth = sitk.ReadImage(str(raw / f"{case}_label.nii.gz"))
        image = sitk.ReadImage(str(raw / f"{case}.nii.gz"))
        assert mask.GetSize() == image.GetSize()
        assert mask.GetDirection() == pytest.approx(image.GetDirection())
        assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
        found, expected = (sitk.GetArrayFromImage(m) > 0 for m in (mask, truth))
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.9
        (millilitres,) = request.volume_ml(restored)
        assert millilitres == pytest.approx(found.sum() * np.prod(image.GetSpacing()) / 1000)


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_series_are_served_as_they_were_trained(real_data: Path, tmp_path: Path, modality: str) -> None:
    folder = real_data / ("ct_dicom" if modality == "ct" else "brain_mr_dicom")
    reader, pipeline = prepared(DicomExport(modality=modality), folder, tmp_path)
    files = [File(path.name, path.read_bytes()) for path in sorted(folder.glob("*.dcm"))]
    received = received_volume(files, modality)
    request = pipeline.voxels(received.image)
    assert request.starts == [row.offset for row in reader.rows]
    assert np.array_equal(request.windows, np.stack([reader.image(i) for i in range(len(reader))]))
    assert received.series is not None and len(received.series.instances) == len(files)


def test_cut_volumes_are_served_as_they_were_trained(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(3):
        put_lits(raw, number, 100 + number, lits_labels())
    recipe = Lits(size=(16, 64, 64))
    reader, pipeline = prepared(recipe, raw, tmp_path)
    row = reader.rows[0]
    image = read_volume((raw / row.source).read_bytes(), row.source)
    request = pipeline.segmented(image, (16, 32, 48))
    members = [i for i, one in enumerate(reader.rows) if one.group == row.group]
    whole, agree = assembled([reader.image(i) for i in members], [reader.rows[i].offset for i in members])
    (part,) = request.parts
    assert agree and np.array_equal(part.image, whole)
    original = reader.original(row.group)
    assert original is not None and request.placement == original.placement
    # windows smaller than the tiles lie over each other in the plane, too: a perfect model's come back as the mask
    masks, _ = assembled([reader.mask(i) for i in members], [reader.rows[i].offset for i in members])
    windows = Windows(masks.astype(np.float32), (16, 32, 48))
    found = request.restore(windows.batches(5))
    assert len(request) == len(windows) == 12
    assert (found == original.mask).mean() > 0.97


def test_reports_are_served_as_they_were_trained(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    put(raw / "a.csv", b"study_id,findings,impression\n1,The lungs are clear.,1. No acute disease. Stable.\n")
    reader, pipeline = prepared(OpeniReports(), raw, tmp_path)
    words = ["no", "acute", "disease", "the", "lungs", "are", "clear"]
    vocabulary = put(tmp_path / "vocab.txt", "\n".join([*SPECIAL, *words]).encode())
    tokenizer = Tokenizer(vocabulary)
    trained = tokenizer.encode(reader.text(0))
    served = pipeline.text("1. No acute disease. Stable. The lungs are clear.", tokenizer)
    assert np.array_equal(served.ids, trained.ids)
    assert np.array_equal(served.attention, trained.attention)
    with pytest.raises(BadInput, match="fewer than 3 words"):
        pipeline.text("Stable.", tokenizer)


def test_image_masks_come_back_in_the_size_of_the_image() -> None:
    pipeline = ServingPipeline(ImageFolder(size=(32, 32), mask_suffix="_m").model_dump(mode="json"), Kind.IMAGE2D)
    image = np.zeros((90, 40), np.uint8)
    image[30:60, 10:30] = 255
    model_input, size = pipeline.image_and_size(image_bytes(image), "a.png")
    assert size == (90, 40)
    (mask,) = pipeline.image_masks(model_input[0, :1], size)
    assert mask.shape == (90, 40)
    assert (mask != (image > 0)).mean() < 0.06


def test_a_segmenter_is_served_every_slice_of_a_turned_volume(tmp_path: Path) -> None:
    recipe = VolumeFolder(size=(16, 32, 32), modality="ct", label_suffix="_l", label_names=("a", "b"))
    pipeline = ServingPipeline(recipe.model_dump(mode="json"), Kind.VOLUME3D)
    array = np.zeros((37, 20, 26), np.int16)
    array[5:12, 3:9, 15:22] = 900
    image = itk_image(array, (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), (0, 0, 1, -1, 0, 0, 0, -1, 0))
    request = pipeline.segmented(image, recipe.size)
    assert len(request) == 2
    windows = np.concatenate([*request.batches(3)])
    assert windows.shape == (2, 1, 16, 32, 32)
    channels = np.concatenate([np.zeros_like(windows), (windows > 0.45).astype(np.float32)], axis=1)
    masks = request.restore([channels])
    restored = sitk.GetArrayFromImage(sitk.ReadImage(str(put(tmp_path / "mask.nii.gz", request.to_nifti(masks)))))
    assert restored.shape == array.shape
    assert set(np.unique(restored)) == {0, 2}
    overlap = (restored == 2) & (array > 0)
    assert 2 * overlap.sum() / ((restored == 2).sum() + (array > 0).sum()) > 0.85
    assert request.volume_ml(masks) == pytest.approx([0.0, (restored == 2).sum() * 6 / 1000])


def test_a_served_tumour_is_not_hidden_by_its_liver(tmp_path: Path) -> None:
    recipe = VolumeFolder(size=(16, 32, 32), modality="ct", label_suffix="_l", label_names=("liver", "tumour"))
    pipeline = ServingPipeline(recipe.model_dump(mode="json"), Kind.VOLUME3D)
    request = pipeline.segmented(itk_image(np.zeros((16, 32, 32), np.int16), (1.0, 2.0, 3.0)), recipe.size)
    # the liver is the surer of the two in the tumour
    probabilities = np.zeros((1, 2, 16, 32, 32), np.float32)
    probabilities[0, 0, :, 4:28, 4:28] = 0.99
    probabilities[0, 1, :, 10:20, 10:20] = 0.7
    masks = request.restore([probabilities])
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(put(tmp_path / "mask.nii.gz", request.to_nifti(masks)))))
    assert (labels == 2).sum() == 16 * 10 * 10
    assert (labels > 0).sum() == 16 * 24 * 24
    assert request.volume_ml(masks) == pytest.approx([16 * 24 * 24 * 6 / 1000, 16 * 10 * 10 * 6 / 1000])
