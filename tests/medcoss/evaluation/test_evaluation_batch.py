"""Models over whole datasets: vectors a study, probabilities, and masks in the geometry of their files."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from medcoss import embed, prepare
from medcoss.data.shards import ShardReader
from medcoss.evaluation.batch import TABLE, predict
from medcoss.evaluation.embed import Embedded, embed_dataset, write_embeddings
from medcoss.evaluation.predict import class_probabilities
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.registry import load_model
from medcoss.preprocess.serving import ServingPipeline
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs import PredictSpec
from tests.medcoss.export.small_models import RECIPES, write_model
from tests.medcoss.training.small import DATASET, MODEL, StopsAfter, xrays

# turned about two axes, flipped along one, spacing of its own on each
OBLIQUE = (0.8, -0.6, 0.0, 0.48, 0.64, -0.6, -0.36, -0.48, -0.8)


def volume(path: Path, seed: int, shape: tuple[int, int, int] = (40, 40, 36)) -> Path:
    image = sitk.GetImageFromArray(np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32))
    image.SetSpacing((1.5, 0.7, 3.2))
    image.SetOrigin((12.5, -80.25, 33.0))
    image.SetDirection(OBLIQUE)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for seed, name in enumerate(("a.nii.gz", "sub/b.mha")):
        volume(folder / name, seed)
    return folder


def prediction(**values: object) -> PredictSpec:
    return PredictSpec(model=MODEL, dataset=DATASET, **values)  # type: ignore[arg-type]


def test_a_study_is_the_mean_of_its_tiles_as_files_are_embedded(raw: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "encoder", ["mr"])
    prepare(raw, tmp_path / "tiles", "volume_folder", size=(16, 32, 48), splits={"method": "folders"}, quiet=True)
    run = LocalRun(tmp_path / "run")
    found = embed_dataset(model, tmp_path / "tiles" / "dataset", DATASET, tmp_path / "work", run)
    files = [raw / study.source for study in found.studies]
    assert [(study.dataset, study.modality, study.samples > 1) for study in found.studies] == [
        (DATASET, "mr", True)
    ] * 2
    np.testing.assert_allclose(found.vectors, embed(model, files, quiet=True), atol=1e-4)

    parquet, array = write_embeddings(found, tmp_path / "out")
    table = pq.read_table(parquet)
    assert table.column("source").to_pylist() == [study.source for study in found.studies]
    np.testing.assert_array_equal(np.stack(table.column("embedding").to_pylist()), np.load(array))
    each = embed_dataset(model, tmp_path / "tiles" / "dataset", DATASET, tmp_path / "work", run, level="sample")
    assert len(each.vectors) == sum(study.samples for study in found.studies)


def test_embedding_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    model, dataset = write_model(tmp_path / "model", "encoder", ["xray"]), xrays(tmp_path / "xrays", size=(64, 64))

    def embedded(run: LocalRun, work: str) -> Embedded:
        return embed_dataset(model, dataset, DATASET, tmp_path / work, run, split="train", batch_size=4)

    whole = embedded(LocalRun(tmp_path / "other"), "a")
    with pytest.raises(Stopped):
        embedded(StopsAfter(tmp_path / "run", steps=3), "b")
    again = LocalRun(tmp_path / "run")
    np.testing.assert_array_equal(embedded(again, "b").vectors, whole.vectors)
    assert any("resumed with the features of 8 samples" in line for line in again.lines)
    assert {study.label for study in whole.studies} == set(ShardReader(dataset).info.classes or [])


def test_probabilities_of_a_classifier(tmp_path: Path) -> None:
    dataset = xrays(tmp_path / "xrays", size=(64, 64))
    folder = write_model(tmp_path / "model", "classification", ["xray"], ["one", "two"])
    model, _ = load_model(folder)
    assert isinstance(model, Classifier)
    reader = ShardReader(dataset)
    expected = class_probabilities(model, reader, reader.indices("test"), 4, None)
    assert predict(prediction(split="test"), folder, dataset, tmp_path / "out", LocalRun(tmp_path / "run")) == 4
    table = pq.read_table(tmp_path / "run" / "artifacts" / TABLE)
    found = np.stack([table.column(f"probability {name}").to_numpy() for name in ("one", "two")], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert table.column("predicted").to_pylist() == [("one", "two")[int(p.argmax())] for p in expected]
    assert table.column("sample").to_pylist() == [reader.rows[int(i)].id for i in reader.indices("test")]


def test_masks_have_the_geometry_of_their_files(raw: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "segmentation", ["xray", "mr"], ["atrium", "wall"])
    run = StopsAfter(tmp_path / "run", steps=2)
    with pytest.raises(Stopped):
        predict(prediction(), folder, raw, tmp_path / "out", run)
    assert predict(prediction(), folder, raw, tmp_path / "out", LocalRun(tmp_path / "run")) == 4
    made = tmp_path / "run" / "artifacts"
    rows = pq.read_table(made / TABLE).to_pylist()
    assert [(row["path"], row["class"]) for row in rows] == [
        (path, name) for path in ("a.nii.gz", "sub/b.mha") for name in ("atrium", "wall")
    ]

    model, info = load_model(folder)
    assert isinstance(model, Segmenter)
    pipeline = ServingPipeline(RECIPES["mr"] | {"label_suffix": "_label", "label_names": info.classes}, Kind.VOLUME3D)
    for path in ("a.nii.gz", "sub/b.mha"):
        given, mask = (
            sitk.ReadImage(str(raw / path)),
            sitk.ReadImage(str(made / "masks" / f"{path.split('.')[0]}.nii.gz")),
        )
        assert mask.GetSize() == given.GetSize()
        for what in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(mask, what)(), getattr(given, what)(), atol=1e-4)
        volume = pipeline.segmented(given, tuple(info.sample_shape[1:]))
        with torch.no_grad():
            probabilities = [torch.sigmoid(model(torch.from_numpy(w.copy()))).numpy() for w in volume.batches(3)]
        masks = volume.restore(probabilities)
        amounts = [row["volume_ml"] for row in rows if row["path"] == path]
        np.testing.assert_allclose(amounts, volume.volume_ml(masks), rtol=1e-3)
        assert np.mean(sitk.GetArrayFromImage(mask) > 0) == pytest.approx(np.mean(masks.any(axis=0)), abs=1e-3)


def test_masks_of_a_prepared_dataset_lie_on_the_grid_that_it_knows(raw: Path, tmp_path: Path) -> None:
    """Of one without label maps that is the grid of the samples, of one with them that of the files, turned to LPS."""
    folder = write_model(tmp_path / "model", "segmentation", ["xray", "mr"], ["atrium", "wall"])
    model, info = load_model(folder)
    assert isinstance(model, Segmenter)
    how: dict[str, Any] = {"size": (16, 32, 48), "splits": {"method": "folders"}, "quiet": True}
    prepare(raw, tmp_path / "plain", "volume_folder", **how)
    labelled = tmp_path / "labelled"
    path = volume(labelled / "a.nii.gz", 0)
    given = sitk.ReadImage(str(path))
    sitk.WriteImage(sitk.Cast(given > 100, sitk.sitkUInt8), str(labelled / "a_label.nii.gz"))
    prepare(labelled, tmp_path / "known", "volume_folder", label_suffix="_label", label_names=("box",), **how)
    turned = sitk.DICOMOrient(given, "LPS")
    (columns, height, slices), (x, y, z) = turned.GetSize(), turned.GetSpacing()
    pipeline = ServingPipeline(info.recipe, Kind.VOLUME3D)
    request = pipeline.segmented(given, tuple(info.sample_shape[1:]))
    with torch.no_grad():
        found = [torch.sigmoid(model(torch.from_numpy(w.copy()))).numpy() for w in request.batches(4)]
    grids = {
        "plain": ((48, 32, slices), (x * columns / 48, y * height / 32, z)),
        "known": (turned.GetSize(), turned.GetSpacing()),
    }
    for name, (size, spacing) in grids.items():
        dataset, out, run = tmp_path / name / "dataset", tmp_path / f"out-{name}", tmp_path / f"run-{name}"
        with pytest.raises(Stopped):
            predict(prediction(), folder, dataset, out, StopsAfter(run, steps=2 if name == "plain" else 1))
        predict(prediction(), folder, dataset, out, LocalRun(run))
        rows = pq.read_table(run / "artifacts" / TABLE).to_pylist()
        assert [(row["path"], row["class"]) for row in rows] == [
            (path, of) for path in ("a.nii.gz", "sub/b.mha")[: 2 if name == "plain" else 1] for of in ("atrium", "wall")
        ]
        assert rows[0]["mask"] == "masks/a.nii.gz" and rows[0]["group"] and rows[0]["split"] == "train"
        mask = sitk.ReadImage(str(run / "artifacts" / "masks" / "a.nii.gz"))
        assert mask.GetSize() == size and mask.GetSpacing() == pytest.approx(spacing, rel=1e-3)
        assert mask.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
        labels = sitk.GetArrayFromImage(mask)
        assert rows[1]["volume_ml"] == pytest.approx((labels == 2).sum() * np.prod(spacing) / 1000, rel=1e-3)
        if name == "known":
            # as many millilitres as of the file itself
            np.testing.assert_allclose(
                [row["volume_ml"] for row in rows], request.volume_ml(request.restore(found)), rtol=1e-3
            )
        else:
            # preprocessing without labels leaves the first and the last slices out
            assert labels[slices // 2].any() and not labels[0].any() and not labels[-1].any()


def test_masks_of_a_prepared_dataset_of_images(tmp_path: Path) -> None:
    dataset = xrays(tmp_path / "xrays", size=(64, 64), masks=True)
    folder = write_model(tmp_path / "model", "segmentation", ["xray"], ["lung"])
    run = LocalRun(tmp_path / "run")
    assert predict(prediction(split="test"), folder, dataset, tmp_path / "out", run) == 4
    rows = pq.read_table(tmp_path / "run" / "artifacts" / TABLE).to_pylist()
    assert {row["split"] for row in rows} == {"test"} and len({row["mask"] for row in rows}) == 4
    for row in rows:
        assert row["mask"] == f"masks/{row['path']}.png"
        label_map = np.asarray(Image.open(tmp_path / "run" / "artifacts" / row["mask"]))
        assert label_map.shape == (64, 64) and (label_map == 1).sum() == row["pixels"]
    with pytest.raises(BadInput, match="dataset: its samples are image2d"):
        model = write_model(tmp_path / "mr", "segmentation", ["mr"], ["box"])
        predict(prediction(), model, dataset, tmp_path / "out", run)


def test_files_that_cannot_be_used_are_told_and_too_many_fail(raw: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", "segmentation", ["mr"], ["box"])
    files = tmp_path / "raw"
    volume(files / "good.nii.gz", 0)
    (files / "broken.nii.gz").write_bytes(b"no volume")
    run = LocalRun(tmp_path / "run")
    with pytest.raises(BadInput, match=r"broken.nii.gz: 1 of 2 files cannot be used, more than max_bad_fraction"):
        predict(prediction(), folder, files, tmp_path / "out", run)
    predict(prediction(max_bad_fraction=0.5), folder, files, tmp_path / "out", run)
    rows = {row["path"]: row for row in pq.read_table(tmp_path / "run" / "artifacts" / TABLE).to_pylist()}
    assert rows["broken.nii.gz"]["problem"] and rows["broken.nii.gz"]["mask"] is None
    assert rows["good.nii.gz"]["mask"] == "masks/good.nii.gz" and rows["good.nii.gz"]["problem"] is None
    with pytest.raises(BadInput, match="dataset: the dataset holds no volumes or DICOM series"):
        (tmp_path / "empty").mkdir()
        predict(prediction(), folder, tmp_path / "empty", tmp_path / "out", run)
    with pytest.raises(BadInput, match="model: this model is an encoder without a head"):
        predict(prediction(), write_model(tmp_path / "encoder", "encoder", ["mr"]), raw, tmp_path / "out", run)
