"""Fine-tuning of what nothing can be learnt from, or of what has changed: refused by name, or as documented."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcoss.data.shards import Sample, ShardReader, ShardWriter
from medcoss.models.encoder import Encoder
from medcoss.models.registry import save_model
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.encoder import SIZES
from medcoss.specs.records import ModelInfo
from medcoss.specs.training import FinetuneSpec, PretrainSpec
from medcoss.training.finetune import finetune
from medcoss.training.pretrain import pretrain
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, StopsAfter, xrays

ASKED: dict[str, Any] = {"dataset": DATASET, "size": "tiny", "max_steps": 4, "batch_size": 4, "log_every": 1}
KNOWING = {"first": ["xray"], "second": ["xray", "mr"]}
Change = Callable[[Sample, Any], tuple[Sample, Any]]


def changed(source: Path, folder: Path, change: Change, **fields: Any) -> Path:
    """A copy of a dataset whose samples and masks are changed."""
    reader, writer = ShardReader(source), ShardWriter(folder)
    for i, row in enumerate(reader.rows):
        row, mask = change(row, reader.mask(i))
        writer.add(row, reader.stored_image(i), mask)
    counts = {"splits": writer.split_counts(), "labelled": None}
    writer.close(reader.info.model_copy(update=counts | fields))
    return folder


def refused(folder: Path, data: Path, task: str = "classification", **more: Any) -> str:
    with pytest.raises(BadInput) as caught:
        finetune(FinetuneSpec.model_validate(ASKED | {"task": task} | more), data, None, folder / "m",
                 LocalRun(folder / "run"))  # fmt: skip
    assert not (folder / "m" / "config.json").exists()
    return str(caught.value)


def test_one_class_alone_is_nothing_to_learn(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data", 8)
    same = changed(data, tmp_path / "same", lambda row, mask: (replace(row, label=1), mask))
    said = refused(tmp_path, same)
    assert said.startswith("dataset: all of the 8 training samples are of the class 'class1'; expected samples of at")
    three = xrays(tmp_path / "three", 8, classes=3)
    two = changed(three, tmp_path / "two", lambda row, mask: (replace(row, label=row.label % 2), mask))
    run = LocalRun(tmp_path / "run")
    finetune(FinetuneSpec(task="classification", **ASKED), two, None, tmp_path / "model", run)
    lacking = "warning: the 8 training samples hold nothing of class2, which can therefore not be learnt"
    assert lacking in run.lines


@pytest.mark.parametrize(
    ("mask", "names", "said"),
    [
        (lambda mask: mask * 2, ["foreground"],
         r"dataset: the mask of train\d\.png holds the label 2, which the task does not have"),
        (lambda mask: mask * 0, ["foreground"],
         r"dataset: the masks of the 8 training samples are all empty; expected some with foreground"),
        (lambda mask: mask, ["liver", "tumour"],
         r".*\.png has 1 channels, the dataset names 2 classes; prepare it again"),
    ],
)  # fmt: skip
def test_masks_have_the_labels_of_the_task(tmp_path: Path, mask: Callable[[Any], Any], names: list[str],
                                           said: str) -> None:  # fmt: skip
    data = changed(
        xrays(tmp_path / "data", 8, masks=True),
        tmp_path / "other",
        lambda row, given: (row, mask(given)),
        classes=names,
    )
    assert re.match(said, refused(tmp_path, data, "segmentation"))


def test_without_validation_samples_the_last_weights_are_kept(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data", 8, held_out=0)
    run = LocalRun(tmp_path / "run")
    info = finetune(FinetuneSpec(task="classification", **ASKED), data, None, tmp_path / "model", run)
    assert "warning: there are no labelled validation samples: the last weights are kept" in run.lines
    assert "info: the last weights are kept" in run.lines
    assert not any(name.startswith("val/") for name in info.metrics)
    assert "split 'val' to stop by" in refused(tmp_path / "other", data, early_stopping=2)


def test_samples_have_to_suit_the_encoder(tmp_path: Path) -> None:
    odd = xrays(tmp_path / "odd", 4, (40, 40))
    assert refused(tmp_path, odd) == "dataset: samples are [40, 40]; expected multiples of 16 on every axis"
    large = xrays(tmp_path / "large", 4, (528, 528))
    config = replace(SIZES["tiny"], positions="flat")
    info = ModelInfo(task="encoder", size="tiny", config=config.to_dict(), modalities=["xray"], stage=1,
                     modality="xray", kind="image2d", sample_shape=[1, 224, 224], recipe={})  # fmt: skip
    save_model(Encoder(config), info, tmp_path / "encoder")
    spec = FinetuneSpec(task="classification", init_model=MODEL, **ASKED)
    with pytest.raises(
        BadInput, match=r"^init_model: samples are \[528, 528\], 1089 patches; flat positions have 1024"
    ):
        finetune(spec, large, tmp_path / "encoder", tmp_path / "model", LocalRun(tmp_path / "run"))


def test_a_run_does_not_go_on_with_another_dataset_or_encoder(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data", 8)
    spec = FinetuneSpec(task="classification", **ASKED)
    with pytest.raises(Stopped):
        finetune(spec, data, None, tmp_path / "model", StopsAfter(tmp_path / "run", steps=2))
    other = changed(data, tmp_path / "other", lambda row, mask: (replace(row, label=1 - row.label), mask))
    with pytest.raises(BadInput, match=r"^dataset: the checkpoint of step 2 was made with other content \(SHA-256"):
        finetune(spec, other, None, tmp_path / "model", LocalRun(tmp_path / "run"))
    run = LocalRun(tmp_path / "run")
    finetune(spec, data, None, tmp_path / "model", run)
    assert "info: resumed from the checkpoint at step 2" in run.lines
    first, second = (write_model(tmp_path / name, "encoder", modalities) for name, modalities in KNOWING.items())
    started = spec.model_copy(update={"init_model": MODEL})
    with pytest.raises(Stopped):
        finetune(started, data, first, tmp_path / "model", StopsAfter(tmp_path / "started", steps=2))
    with pytest.raises(BadInput, match=r"^init_model: the checkpoint of step 2 was made with other content"):
        finetune(started, data, second, tmp_path / "model", LocalRun(tmp_path / "started"))
    assert np.isfinite([value for _, row in run.history for value in row.values()]).all()


def test_a_stage_does_not_go_on_with_another_dataset(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data", 8)
    spec = PretrainSpec(dataset=DATASET, size="tiny", max_steps=4, batch_size=4, reconstructions=0)
    with pytest.raises(Stopped):
        pretrain(spec, data, None, [], tmp_path / "model", StopsAfter(tmp_path / "run", steps=2))
    other = changed(data, tmp_path / "other", lambda row, mask: (replace(row, source="b.png"), mask))
    with pytest.raises(BadInput, match=r"^dataset: the checkpoint of step 2 was made with other content"):
        pretrain(spec, other, None, [], tmp_path / "model", LocalRun(tmp_path / "run"))
