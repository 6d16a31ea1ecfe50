"""Embeddings: the same from a prepared dataset, files, bytes and arrays, prepared as the model's data were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from medcoss import embed, finetune, prepare, pretrain
from medcoss.data.shards import ShardReader
from medcoss.models.encoder import pooled_image
from medcoss.models.registry import load_encoder, load_model
from medcoss.run import BadInput
from tests.medcoss.export.small_models import write_model

SHORT: dict[str, Any] = {"size": "tiny", "batch_size": 4, "max_steps": 2, "quiet": True}


@pytest.fixture(scope="module")
def prepared(folder: Path, images: Path) -> Path:
    prepare(images, folder / "prepared", size=(48, 32), labels="folders", quiet=True)
    return folder / "prepared"


@pytest.fixture(scope="module")
def encoder(folder: Path, prepared: Path, sentences: Path) -> Path:
    """Knows X-rays, then reports."""
    pretrain(prepared, folder / "one", **SHORT)
    pretrain(sentences, folder / "two", init_model=folder / "one", vocabulary_size=256, **SHORT)
    return folder / "two"


def test_files_bytes_arrays_and_the_dataset_agree(encoder: Path, prepared: Path, images: Path) -> None:
    reader = ShardReader(prepared / "dataset")
    files = [images / row.source for row in reader.rows]
    module, _ = load_encoder(encoder / "model")
    with torch.no_grad():
        stacked = torch.from_numpy(np.stack([reader.image(i) for i in range(len(reader))]))
        expected = pooled_image(module, stacked).numpy()
    forms: list[Any] = [
        prepared,
        prepared / "dataset",
        files,
        [str(f) for f in files],
        [f.read_bytes() for f in files],
        [np.asarray(Image.open(f)) for f in files],
        np.stack([np.asarray(Image.open(f)) for f in files]),
    ]
    for inputs in forms:
        for batch_size in (5, 64):
            found = embed(encoder, inputs, modality="xray", batch_size=batch_size, quiet=True)
            assert (found.shape, found.dtype) == ((12, 48), np.float32)
            np.testing.assert_allclose(found, expected, atol=1e-5)
    # rows in the order of the inputs
    np.testing.assert_allclose(embed(encoder, files[::-1], modality="xray", quiet=True), expected[::-1], atol=1e-5)


def test_arrays_of_other_numbers_are_scaled_as_files_are(encoder: Path, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 4000, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    forms = [tmp_path / "deep.png", deep, deep.astype(np.float64) / 7]
    rows = embed(encoder, forms, modality="xray", quiet=True)
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], atol=1e-5)


def test_one_split_of_a_dataset(encoder: Path, stripes: Path) -> None:
    every, test = embed(encoder, stripes, quiet=True), embed(encoder, stripes, split="test", quiet=True)
    np.testing.assert_allclose(test, every[ShardReader(stripes).indices("test")], atol=1e-5)


def test_reports_by_text_and_by_dataset(encoder: Path, sentences: Path) -> None:
    reader = ShardReader(sentences)
    texts = [reader.text(i) for i in range(len(reader))]
    by_text = embed(encoder, texts, modality="report", quiet=True)
    # other batches have other padding, which does not count
    np.testing.assert_allclose(by_text, embed(encoder, sentences, batch_size=1, quiet=True), atol=1e-5)
    assert len(np.unique(by_text.round(4), axis=0)) == len(set(texts))
    # a text is cleaned as reports were for training
    both = embed(encoder, ["The LUNGS are clear. No edema.", "the lungs are clear no edema"], modality="report")
    np.testing.assert_allclose(both[0], both[1], atol=1e-6)


def test_a_volume_is_the_mean_of_its_tiles(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "encoder", ["mr"])
    voxels = np.random.default_rng(0).normal(100, 20, (40, 40, 30)).astype(np.float32)
    raw = tmp_path / "raw"
    raw.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(raw / "a.nii.gz"))
    prepare(raw, tmp_path / "tiles", "volume_folder", size=(16, 32, 48), splits={"method": "folders"}, quiet=True)
    tiles = embed(model, tmp_path / "tiles", quiet=True)
    assert len(tiles) > 1
    whole = embed(model, [raw / "a.nii.gz", voxels], batch_size=2, quiet=True)
    np.testing.assert_allclose(whole, np.stack([tiles.mean(axis=0)] * 2), atol=1e-4)


def test_a_classifier_embeds_what_its_head_reads(folder: Path, encoder: Path, prepared: Path) -> None:
    finetune(prepared, folder / "cls", "classification", init_model=encoder, **SHORT)
    reader = ShardReader(prepared / "dataset")
    model, _ = load_model(folder / "cls" / "model")
    with torch.no_grad():
        _, expected = model(torch.from_numpy(np.stack([reader.image(i) for i in range(len(reader))])))
    np.testing.assert_allclose(embed(folder / "cls", prepared, quiet=True), expected.numpy(), atol=1e-5)


def test_no_inputs_give_no_rows(encoder: Path) -> None:
    assert embed(encoder, [], modality="xray", quiet=True).shape == (0, 48)


@pytest.mark.parametrize(
    ("inputs", "more", "answer"),
    [
        ([], {}, "modality: the model knows several; expected one of xray, report"),
        ([], {"modality": "ct"}, "modality: the model has not learnt 'ct'; expected one of xray, report"),
        (["none.png"], {"modality": "xray"}, "inputs[0]: there is no file none.png; expected an image: a file, bytes, "
                                             "or an array (H, W) or (H, W, 3)"),
        ([b"text"], {"modality": "xray"}, "inputs[0]: this is text; expected a PNG, JPEG, TIFF or DICOM image"),
        ([3], {"modality": "xray"}, "inputs[0]: expected an image: a file, bytes, or an array (H, W) or (H, W, 3), "
                                    "found int '3'"),
        ([np.zeros((4, 4, 4))], {"modality": "xray"}, "inputs[0]: this array is (4, 4, 4); expected (H, W) or (H, W, "),
        ([np.zeros((4, 4, 3))], {"modality": "xray"}, "inputs[0]: this array holds float64; expected uint8, or numbers "
                                                      "of one channel"),
        (["no acute disease", 7], {"modality": "report"}, "inputs[1]: expected the text of a report, found int '7'"),
        (["no"], {"modality": "report"}, "inputs[0]: the report has fewer than 3 words; expected a report"),
        ([], {"modality": "xray", "split": "test"}, "split: a list has no splits; leave it out, or give a prepared"),
        ("nowhere", {}, "inputs: there is no folder "),
        ("The lungs are clear. " * 300, {}, "inputs: there is no folder The lungs are clear. The lungs are clear. The "
                                            "lungs are clea...; expected the output of prepare or build_buffer. "
                                            "Texts, files and arrays go in a list, a single one too: give a list"),
        (__file__, {}, f"inputs: {__file__} is one file; give a list, ['{__file__}']"),
        (b"png", {"modality": "xray"}, "inputs: these are the bytes of one file; give a list, [content]"),
        (np.zeros((4, 5)), {"modality": "xray"}, "inputs: this is one array (4, 5); give a list, [array]"),
        (np.zeros((4, 5, 3)), {"modality": "xray"}, "inputs: this is one array (4, 5, 3); give a list, [array]"),
        (7, {"modality": "xray"}, "inputs: expected a prepared dataset or a list, found int"),
        ([], {"batch_size": 0}, "batch_size: expected a whole number greater than or equal to 1, found 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_embedded_is_named(encoder: Path, inputs: Any, more: dict[str, Any], answer: str) -> None:
    with pytest.raises(BadInput) as refusal:
        embed(encoder, inputs, quiet=True, **more)
    assert str(refusal.value).startswith(answer)


def test_one_volume_is_no_list_of_slices(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "encoder", ["mr"])
    with pytest.raises(BadInput, match=r"inputs: this is one array \(4, 5, 6\); give a list, \[array\]"):
        embed(model, np.zeros((4, 5, 6)), quiet=True)


def test_models_and_datasets_that_do_not_go_together(stripes: Path, tmp_path: Path) -> None:
    segmenter = write_model(tmp_path / "segmenter", "segmentation", ["mr"], ["box"])
    with pytest.raises(BadInput, match="model: a segmentation model has no embedding; expected an encoder or a class"):
        embed(segmenter, [])
    mr = write_model(tmp_path / "mr", "encoder", ["mr"])
    with pytest.raises(BadInput, match="modality: the model has not learnt 'xray'; expected one of mr"):
        embed(mr, stripes)
    with pytest.raises(BadInput, match="modality: the dataset holds 'xray', not 'mr'; leave it out"):
        embed(mr, stripes, modality="mr")
    with pytest.raises(BadInput, match="split: the dataset has no split 'tset'; it has train, val, test"):
        embed(write_model(tmp_path / "xray", "encoder", ["xray"]), stripes, split="tset")
    voxels = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(20, 20, 20)))
    (tmp_path / "raw").mkdir()
    sitk.WriteImage(voxels, str(tmp_path / "raw" / "a.nii.gz"))
    sizes = {"size": (16, 32, 48), "splits": {"method": "folders"}, "quiet": True}
    prepare(tmp_path / "raw", tmp_path / "hu", "volume_folder", intensity="hounsfield", **sizes)
    with pytest.raises(BadInput, match="inputs: the dataset was prepared with intensity hounsfield, the model's with"):
        embed(mr, tmp_path / "hu")
