"""Fine-tuning: heads learn, and what does not fit is named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer, train_vocabulary
from medcoss.evaluation.predict import class_probabilities, mask_probabilities
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.registry import load_encoder, load_model
from medcoss.run import BadInput, LocalRun
from medcoss.specs.training import FinetuneSpec
from medcoss.training.finetune import FinetuneSteps, finetune
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, reports, volumes, xrays

CLASSIFY = {"task": "classification", "dataset": DATASET, "init_model": MODEL, "log_every": 5, "lr": 2e-3}
SEGMENT = CLASSIFY | {"task": "segmentation", "batch_size": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Path:
    return write_model(folder / "encoder", "encoder", ["xray", "mr"])


@pytest.fixture(scope="module")
def stripes(folder: Path) -> Path:
    return xrays(folder / "stripes", 24, held_out=8)


def test_a_classifier_learns_and_answers_after_loading(folder: Path, encoder: Path, stripes: Path) -> None:
    run = LocalRun(folder / "run-classifier")
    info = finetune(
        FinetuneSpec(epochs=30, batch_size=8, **CLASSIFY), stripes, encoder, folder / "classifier", run
    )  # fmt: skip
    assert info.metrics["train/accuracy"] > 0.9
    assert info.metrics["val/accuracy"] > 0.8
    assert info.metrics["val/auc"] > 0.9
    assert (info.classes, info.task, info.kind) == (["class0", "class1"], "classification", "image2d")
    losses = [row["loss"] for _, row in run.history if "loss" in row]
    assert losses[0] > 1.5 * losses[-1]
    assert run.history[-1][1]["val/accuracy"] == info.metrics["val/accuracy"]
    model, stored = load_model(folder / "classifier")
    assert stored == info
    assert isinstance(model, Classifier)
    reader = ShardReader(stripes)
    found = class_probabilities(model, reader, reader.indices("val"), 3, None)
    assert found.shape == (8, 2)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found.argmax(axis=1) == [reader.label(int(i)) for i in reader.indices("val")]).mean() == pytest.approx(
        info.metrics["val/accuracy"]
    )


@pytest.mark.parametrize("batch_size", [2, 8])
def test_answers_do_not_depend_on_who_shares_the_batch(
    folder: Path, encoder: Path, stripes: Path, batch_size: int
) -> None:
    output = folder / f"small{batch_size}"
    finetune(FinetuneSpec(max_steps=3, batch_size=batch_size, **CLASSIFY), stripes, encoder, output,
             LocalRun(folder / f"run{batch_size}"))  # fmt: skip
    model, _ = load_model(output)
    assert isinstance(model, Classifier)
    reader = ShardReader(stripes)
    alone, together = (class_probabilities(model, reader, reader.indices("train"), n, None) for n in (1, 24))
    assert np.allclose(alone, together, atol=1e-5)


def test_standardisation_needs_enough_samples_in_a_batch(folder: Path, encoder: Path) -> None:
    few = xrays(folder / "few", 5)
    info = finetune(FinetuneSpec(max_steps=3, batch_size=8, **CLASSIFY), few, encoder, folder / "few-model",
                    LocalRun(folder / "run-few"))  # fmt: skip
    assert np.isfinite(list(info.metrics.values())).all()
    single = FinetuneSpec(max_steps=3, batch_size=1, **CLASSIFY)
    info = finetune(single, few, encoder, folder / "one-model", LocalRun(folder / "run-one"))
    assert np.isfinite(list(info.metrics.values())).all()


def test_a_frozen_encoder_stays_as_it_is(folder: Path, encoder: Path, stripes: Path) -> None:
    spec = FinetuneSpec(max_steps=4, batch_size=8, freeze_encoder=True, **CLASSIFY)
    finetune(spec, stripes, encoder, folder / "probe", LocalRun(folder / "run-probe"))
    model, _ = load_model(folder / "probe")
    before, _ = load_encoder(encoder)
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, model.encoder.state_dict()[name]), name


def test_samples_without_a_label_are_left_out(folder: Path, encoder: Path) -> None:
    data = xrays(folder / "unlabelled", 12, masks=True)
    with pytest.raises(BadInput, match="dataset: the dataset has no class labels"):
        finetune(FinetuneSpec(max_steps=1, **CLASSIFY), data, encoder, folder / "none", LocalRun(folder / "run-none"))
    labelled = reports(folder / "labelled")
    reader = ShardReader(labelled)
    assert {row.label for row in reader.rows} == {0, 1}


def test_a_segmenter_of_volumes_learns(folder: Path, encoder: Path) -> None:
    data = volumes(folder / "boxes", 4, (16, 32, 32), masks=True)
    info = finetune(
        FinetuneSpec(max_steps=25, **(SEGMENT | {"batch_size": 2})), data, encoder, folder / "segmenter",
        LocalRun(folder / "run-segmenter"),
    )  # fmt: skip
    assert info.metrics["train/dice"] > 0.7
    assert info.metrics["val/dice"] > 0.5
    model, _ = load_model(folder / "segmenter")
    assert isinstance(model, Segmenter)
    reader = ShardReader(data)
    found = mask_probabilities(model, reader, reader.indices("val"), 2)
    assert found.shape == (2, 1, 16, 32, 32)
    assert 0 <= found.min() <= found.max() <= 1


def test_a_segmenter_of_images_learns(folder: Path, encoder: Path) -> None:
    data = xrays(folder / "masked", 12, masks=True)
    info = finetune(FinetuneSpec(epochs=20, **(SEGMENT | {"lr": 1e-2})), data, encoder, folder / "segmenter2d",
                    LocalRun(folder / "run-segmenter2d"))  # fmt: skip
    assert info.metrics["train/dice"] > 0.7


def test_a_report_classifier_learns(folder: Path) -> None:
    data = reports(folder / "reports", 24)
    vocabulary = folder / "words"
    words = sorted({word for row in ShardReader(data).rows for word in row.text.split()})
    model = write_model(vocabulary / "model", "encoder", ["report"])
    lines = (model / "vocab.txt").read_text().splitlines()
    lines[5 : 5 + len(words)] = words
    (model / "vocab.txt").write_text("\n".join(lines) + "\n")
    info = finetune(FinetuneSpec(epochs=20, batch_size=8, **CLASSIFY), data, model, folder / "report-classifier",
                    LocalRun(folder / "run-report"))  # fmt: skip
    assert info.metrics["train/accuracy"] > 0.8
    assert (folder / "report-classifier" / "vocab.txt").read_text() == (model / "vocab.txt").read_text()


def test_reports_need_an_encoder_that_reads(folder: Path, encoder: Path) -> None:
    data = reports(folder / "unread", 8)
    with pytest.raises(BadInput, match=r"^init_model: a report classifier needs"):
        finetune(FinetuneSpec(max_steps=1, **CLASSIFY), data, encoder, folder / "no", LocalRun(folder / "run-no"))


def test_a_report_classifier_from_scratch_learns_its_words(folder: Path) -> None:
    data = reports(folder / "spoken", 24)
    spec = FinetuneSpec(task="classification", dataset=DATASET, size="tiny", vocabulary_size=300, epochs=20,
                        batch_size=8, lr=2e-3)  # fmt: skip
    info = finetune(spec, data, None, folder / "from-words", LocalRun(folder / "run-words"))
    assert info.metrics["train/accuracy"] > 0.8
    reader = ShardReader(data)
    training = [reader.text(int(i)) for i in reader.indices("train")]
    assert (folder / "from-words" / "vocab.txt").read_text().splitlines() == train_vocabulary(training, 300)
    model, again = load_model(folder / "from-words")
    tokenizer = Tokenizer(folder / "from-words" / "vocab.txt")
    assert (info.modalities, again.config["vocabulary"]) == ([], tokenizer.size)
    labels = np.array([reader.label(int(i)) for i in reader.indices("train")])
    found = class_probabilities(model, reader, reader.indices("train"), 8, tokenizer).argmax(axis=1)
    assert (found == labels).mean() == pytest.approx(info.metrics["train/accuracy"])


def test_segmentation_needs_masks_and_training_samples(folder: Path, encoder: Path, stripes: Path) -> None:
    run = LocalRun(folder / "run-bad")
    with pytest.raises(BadInput, match="no masks"):
        finetune(FinetuneSpec(max_steps=1, **SEGMENT), stripes, encoder, folder / "no", run)
    with pytest.raises(BadInput, match="no labelled training samples"):
        finetune(FinetuneSpec(max_steps=1, **CLASSIFY), xrays(folder / "empty", 0), encoder, folder / "no", run)
    classifier = write_model(folder / "not-an-encoder", "classification", ["xray"], ["a", "b"])
    with pytest.raises(BadInput, match="expected an encoder"):
        finetune(FinetuneSpec(max_steps=1, **CLASSIFY), stripes, classifier, folder / "no", run)


def test_targets_belong_to_their_inputs(folder: Path, encoder: Path) -> None:
    spec = FinetuneSpec(max_steps=1, augment=False, **SEGMENT)
    reader = ShardReader(xrays(folder / "aligned", 8, masks=True))
    steps = FinetuneSteps(reader, reader.indices("train"), spec, None)
    seen = []
    for step in range(4):
        (images,), masks = steps[step]
        for image, mask in zip(images, masks, strict=True):
            index = next(i for i in range(8) if np.array_equal(reader.image(i), image.numpy()))
            assert np.array_equal(reader.mask(index), mask.numpy())
            seen.append(index)
    assert sorted(seen[:8]) == sorted(seen[8:]) == list(range(8))
    augmented = FinetuneSteps(reader, reader.indices("train"), FinetuneSpec(max_steps=1, **SEGMENT), None)
    (images,), masks = augmented[0]
    assert torch.equal(augmented[0][0][0], images)
    inside, outside = images[:, :1][masks > 0].mean(), images[:, :1][masks == 0].mean()
    assert inside > outside + 0.15, "the box stays bright"


def test_an_epoch_of_so_many_steps_goes_on_through_the_samples(stripes: Path) -> None:
    reader = ShardReader(stripes)
    given = CLASSIFY | {"epochs": 2, "steps_per_epoch": 5}
    steps = FinetuneSteps(reader, np.arange(12), FinetuneSpec(batch_size=4, **given), None)
    assert (steps.per_epoch, steps.total) == (5, 10)
    seen = np.concatenate([steps.chosen(step) for step in range(10)])
    assert sorted(seen[:12]) == sorted(seen[12:24]) == list(range(12)), "every sample once before any comes again"
    assert list(seen[:12]) != list(seen[12:24])


def test_from_scratch_without_an_encoder(folder: Path, stripes: Path) -> None:
    spec = FinetuneSpec(
        task="classification", dataset=DATASET, size="tiny", max_steps=2, batch_size=8
    )  # fmt: skip
    info = finetune(spec, stripes, None, folder / "scratch", LocalRun(folder / "run-scratch"))
    assert (info.modalities, info.stage, info.size) == ([], 0, "tiny")
    model, _ = load_model(folder / "scratch")
    assert isinstance(model.encoder, Encoder)
