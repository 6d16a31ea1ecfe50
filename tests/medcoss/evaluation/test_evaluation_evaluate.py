"""`evaluate` on models of a few blocks: whole volumes, the right split, the right unit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.evaluation.evaluate import evaluate
from medcoss.evaluation.metrics import dice, hd95
from medcoss.evaluation.predict import Case, class_features, mask_probabilities, segmented_cases
from medcoss.evaluation.windows import Sliding
from medcoss.modalities import Kind
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.registry import load_model, save_model
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.postprocess import RemoveSmall
from medcoss.specs.preprocess import ImageFolder
from medcoss.specs.records import DatasetInfo, Draws
from medcoss.specs.training import EvaluateSpec
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, volumes, xrays


def spec(**more: object) -> EvaluateSpec:
    return EvaluateSpec(model=MODEL, dataset=DATASET, **more)  # type: ignore[arg-type]


def reshaped(folder: Path, shape: list[int], classes: list[str]) -> Path:
    """The model folder, told the shape and classes of the test's data."""
    model, info = load_model(folder)
    save_model(model, info.model_copy(update={"sample_shape": shape, "classes": classes}), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Path:
    return reshaped(write_model(folder / "segmenter", "segmentation", ["mr"], ["box"]), [1, 16, 32, 32], ["box"])


@pytest.fixture(scope="module")
def boxes(folder: Path) -> Path:
    return volumes(folder / "boxes", 3, masks=True, tiles=3)


def artifact(run: LocalRun, name: str) -> bytes:
    return (run.root / "artifacts" / name).read_bytes()


def test_a_classifier_is_scored_on_the_named_split(folder: Path) -> None:
    data = xrays(folder / "stripes", 8, (64, 64), held_out=6)
    names = ["class0", "class1"]
    model = reshaped(write_model(folder / "classifier", "classification", ["xray"], names), [1, 64, 64], names)
    run = LocalRun(folder / "run-classifier")
    found = evaluate(spec(split="test"), model, data, folder / "out-classifier", run)
    assert {"accuracy", "f1", "auc"} <= found.metrics.keys()
    assert [case["source"] for case in found.cases] == [f"test{i}.png" for i in range(14, 20)]
    assert found.confusion is not None
    assert sum(map(sum, found.confusion)) == 6
    right = sum(case["label"] == case["predicted"] for case in found.cases)
    assert found.metrics["accuracy"] == pytest.approx(right / 6)
    for case in found.cases:
        assert case["predicted"] == names[int(np.argmax(case["probabilities"]))]
    assert json.loads(artifact(run, "evaluation.json"))["metrics"] == found.metrics
    assert all(artifact(run, name).startswith(b"\x89PNG") for name in ("confusion.png", "roc.png", "reliability.png"))
    draws = Draws.model_validate_json((folder / "out-classifier" / "draws.json").read_text())
    assert draws.draws.keys() == found.metrics.keys() and len(draws.draws["f1"]) == draws.resamples == 1000
    known = [value for value in draws.draws["f1"] if value is not None]
    assert np.quantile(known, [0.025, 0.975]) == pytest.approx(found.intervals["f1"], abs=1e-5)
    assert run.history[-1] == (0, found.metrics)
    assert [row["class"] for row in found.per_class] == names
    low, high = found.intervals["accuracy"]
    assert 0 <= low <= found.metrics["accuracy"] <= high <= 1
    assert found.bootstrap is not None and found.bootstrap.units == 6
    assert found.schema_version == 2 and found.calibration


def test_a_segmenter_is_scored_on_whole_volumes_in_mm(folder: Path, segmenter: Path, boxes: Path) -> None:
    run = LocalRun(folder / "run-segmenter")
    found = evaluate(spec(split="test"), segmenter, boxes, folder / "out-segmenter", run)
    (case,) = found.cases
    assert case["case"] == "case4"
    model, _ = load_model(segmenter)
    assert isinstance(model, Segmenter)
    reader = ShardReader(boxes)
    (whole,) = segmented_cases(model, reader, reader.indices("test"), Sliding((16, 32, 32), 2))
    assert whole.image.shape == whole.predicted.shape == whole.reference.shape == (32, 32, 32)
    assert whole.spacing == (2.0, 1.5, 0.5)
    predicted, reference = whole.predicted == 1, whole.reference == 1
    assert case["dice"] == dice(predicted, reference)
    assert case["hd95_mm"] == hd95(predicted, reference, (2.0, 1.5, 0.5))
    assert case["empty"] is None and 0 < case["assd_mm"] <= case["hd95_mm"]
    assert found.intervals == {} and found.bootstrap is None, "one case says nothing of others"
    assert artifact(run, "overlay.png").startswith(b"\x89PNG") and artifact(run, "dice.png").startswith(b"\x89PNG")
    made = {path.name for path in (folder / "out-segmenter").iterdir()}
    assert made == {"evaluation.json", "overlay.png", "dice.png"}, "nothing that only helped to draw is left"
    # the reference is the volume's own label map
    truth = np.zeros((32, 32, 32), np.uint8)
    for i in reader.indices("test"):
        mask = reader.mask(int(i))
        assert mask is not None
        truth[reader.rows[i].offset : reader.rows[i].offset + 16] = mask[0]
    assert np.array_equal(whole.reference, truth)


class Oracle(Segmenter):
    """Answers that the bright voxels are the structure."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 50 * (x[:, :1] - (1.2 if x.ndim == 5 else 0.6))


def test_perfect_answers_score_perfectly(folder: Path, segmenter: Path, boxes: Path) -> None:
    model, _ = load_model(segmenter)
    model.__class__ = Oracle
    reader = ShardReader(boxes)
    for case in segmented_cases(model, reader, reader.indices(), Sliding((16, 32, 32), 4)):  # type: ignore[arg-type]
        assert dice(case.predicted == 1, case.reference == 1) > 0.99
        # a few noisy voxels at the surface, none far from it
        assert (hd95(case.predicted == 1, case.reference == 1, case.spacing) or 0) <= 2.0


def test_images_are_scored_in_pixels(folder: Path) -> None:
    data = xrays(folder / "masked", 4, (64, 64), masks=True)
    model = reshaped(
        write_model(folder / "segmenter2d", "segmentation", ["xray"], ["foreground"]), [1, 64, 64], ["foreground"]
    )
    found = evaluate(spec(split="val"), model, data, folder / "out-2d", LocalRun(folder / "run-2d"))
    assert len(found.cases) == 4
    assert "dice" in found.metrics
    assert not [name for name in found.metrics if name.endswith("mm")], "an image file knows no millimetres"
    assert all("hd95_px" in case for case in found.cases)


def test_masks_are_postprocessed_by_the_model_s_steps_or_those_of_the_job(
    folder: Path, segmenter: Path, boxes: Path
) -> None:
    model, info = load_model(segmenter)
    with torch.no_grad():
        model.out.bias.fill_(1e4)  # type: ignore[union-attr]
    # all 32,768 voxels of 1.5 mm³
    steps = (RemoveSmall(of="box", below=49_153.0),)
    save_model(model, info.model_copy(update={"postprocess": steps}), folder / "all")
    run = LocalRun(folder / "run-all")
    removed = evaluate(spec(), folder / "all", boxes, folder / "out-all", run)
    assert [row["empty"] for row in removed.cases] == ["predicted"]
    kept = evaluate(spec(postprocess=[]), folder / "all", boxes, folder / "out-all", run)
    assert [row["empty"] for row in kept.cases] == [None]
    other = evaluate(spec(postprocess=[RemoveSmall(of=0, below=49_152.0)]), folder / "all", boxes, folder / "o", run)
    assert other.cases == kept.cases
    with pytest.raises(BadInput, match=r"^postprocess: there is no class 'liver' in the dataset; its classes are box"):
        evaluate(spec(postprocess=[{"step": "largest_component", "of": "liver"}]), segmenter, boxes, folder / "o", run)


def test_undefined_distances_are_counted_not_hidden(folder: Path, segmenter: Path, boxes: Path) -> None:
    model, info = load_model(segmenter)
    assert isinstance(model, Segmenter)
    with torch.no_grad():
        model.out.bias.fill_(-1e4)
    save_model(model, info, folder / "silent")
    found = evaluate(spec(split="train"), folder / "silent", boxes, folder / "out", LocalRun(folder / "run-silent"))
    assert found.metrics == {"dice": 0.0, "hd95_undefined": 3.0}
    assert {row["empty"] for row in found.cases} == {"predicted"}
    (row,) = found.per_class
    assert (row["cases"], row["dice"], row["hd95_mm"], row["empty_predicted"]) == (3, 0.0, None, 3)
    assert found.intervals["dice"] == (0.0, 0.0)


def test_each_of_several_structures_has_its_own_scores(folder: Path) -> None:
    names = ["left", "right"]
    writer = ShardWriter(folder / "two")
    image = np.zeros((64, 64), np.uint8)
    image[10:30, 5:25], image[30:60, 40:60] = 120, 250
    masks = np.stack([image == 120, image == 250]).astype(np.uint8)
    writer.add(Sample(id="0", split="test", source="a.png", group="a"), image[None], masks)
    recipe = ImageFolder(size=(64, 64), mask_suffix="_m").model_dump(mode="json")
    writer.close(
        DatasetInfo(
            modality="xray", kind=Kind.IMAGE2D, samples=1, splits={"test": 1}, classes=names, has_masks=True,
            sample_shape=[1, 64, 64], recipe=recipe,
        )
    )  # fmt: skip
    model = reshaped(write_model(folder / "two-model", "segmentation", ["xray"], names), [1, 64, 64], names)
    found = evaluate(spec(), model, folder / "two", folder / "out-two", LocalRun(folder / "run-two"))
    assert [(row["case"], row["class"]) for row in found.cases] == [("a", "left"), ("a", "right")]
    scores = {row["class"]: row["dice"] for row in found.cases}
    assert found.metrics["dice/left"] == scores["left"]
    assert found.metrics["dice"] == pytest.approx((scores["left"] + scores["right"]) / 2)


def test_probabilities_do_not_depend_on_the_batch(segmenter: Path, boxes: Path) -> None:
    model, _ = load_model(segmenter)
    reader = ShardReader(boxes)
    one, four = (mask_probabilities(model, reader, reader.indices("train"), n) for n in (1, 4))  # type: ignore[arg-type]
    assert np.allclose(one, four, atol=1e-5)


def test_features_are_those_the_logits_are_read_from(folder: Path) -> None:
    model, _ = load_model(write_model(folder / "features", "classification", ["xray"], ["a", "b"]))
    assert isinstance(model, Classifier)
    reader = ShardReader(xrays(folder / "features-data", 5, (64, 64)))
    found = class_features(model, reader, reader.indices("train"), 2, None)
    assert found.shape == (5, 48)
    assert not found.requires_grad
    images = torch.stack([torch.from_numpy(reader.image(i)) for i in range(5)])
    assert torch.allclose(found, model(images)[1], atol=1e-5)
    assert torch.is_grad_enabled()


def test_what_does_not_fit_is_named(folder: Path, segmenter: Path, boxes: Path) -> None:
    run = LocalRun(folder / "run-bad")
    other = volumes(folder / "other", 2, (16, 16, 16), masks=True)
    with pytest.raises(BadInput, match=r"^dataset: its samples are volume3d \[1, 16, 16, 16\], the model takes"):
        evaluate(spec(), segmenter, other, folder / "no", run)
    renamed = reshaped(write_model(folder / "renamed", "segmentation", ["mr"], ["organ"]), [1, 16, 32, 32], ["organ"])
    with pytest.raises(BadInput, match=r"^dataset: its classes are \['box'\], the model's are \['organ'\]"):
        evaluate(spec(), renamed, boxes, folder / "no", run)
    encoder = write_model(folder / "encoder", "encoder", ["mr"])
    with pytest.raises(BadInput, match=r"^model: this model is an encoder without a head"):
        evaluate(spec(), encoder, boxes, folder / "no", run)
    no_test = volumes(folder / "no-test", 0, masks=True)
    with pytest.raises(BadInput, match=r"^split: .*no labelled samples in the split 'train'"):
        evaluate(spec(split="train"), segmenter, no_test, folder / "no", run)
    with pytest.raises(Stopped):
        evaluate(spec(), segmenter, boxes, folder / "no", LocalRun(folder / "run-stop", stop_requested=True))


def test_a_channel_within_another_is_scored_by_itself() -> None:
    liver, tumour = np.zeros((2, 4, 8, 8), bool)
    liver[:, 1:7, 1:7] = True
    tumour[1:3, 3:5, 3:5] = True
    case = Case("lits", np.zeros(liver.shape, np.float32), np.stack([liver, tumour]), np.stack([liver, tumour]), (1.0,))
    assert np.array_equal(case.predicted == 2, tumour), "the tumour is not hidden by its liver"
    assert np.array_equal(case.predicted > 0, liver)
