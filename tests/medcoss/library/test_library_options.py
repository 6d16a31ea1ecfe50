"""Wrong calls are answered in words for people, before anything is read or written."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcoss import build_buffer, finetune, prepare, pretrain
from medcoss.run import BadInput
from medcoss.specs.recipes import RECIPES
from medcoss.specs.training import PretrainOptions
from tests.medcoss.export.small_models import write_model


def said(call: Any, *args: Any, **options: Any) -> str:
    """What the refusal of a call says."""
    with pytest.raises(BadInput) as refusal:
        call(*args, **options)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"batchsize": 4}, "pretrain has no option 'batchsize'; did you mean 'batch_size'?"),
        ({"lr": 1}, "pretrain has no option 'lr'; did you mean 'base_lr' or 'min_lr'?"),
        ({"dataset": "ds_00000000"}, "pretrain has no option 'dataset'; did you mean 'data'?"),
        ({"teacher": "a"}, "pretrain has no option 'teacher'; its options are size, attention, "),
        ({"batch_size": "many"}, "batch_size: expected a whole number, found 'many' (samples of an optimizer step, all "
                                 "of one modality, over all processes [sample]; default 32)"),
        ({"epochs": 2.5}, "epochs: expected a whole number, found 2.5 (passes over the dataset [epoch]; default 300)"),
        ({"epochs": 0}, "epochs: expected a number greater than or equal to 1, found 0 (passes over the dataset "
                        "[epoch]; default 300)"),
        ({"mask_ratio": None}, "mask_ratio: expected a number, found None (share of image patches that are masked "
                               "[fraction]; default 0.75)"),
        ({"size": "huge"}, "size: expected 'tiny', 'small', 'base' or 'large', found 'huge' (model size when starting "
                           "from scratch; ignored with init_model; default 'base')"),
        ({"mixup": "perhaps"}, "mixup: expected True or False, found 'perhaps' (mix rehearsal samples within a batch; "
                               "default True)"),
        ({"base_lr": float("nan")}, "base_lr: expected a finite number, found nan (learning rate for a batch of 256, "
                                    "scaled linearly; default 0.00015)"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, Any], answer: str, stripes: Path, tmp_path: Path) -> None:
    assert said(pretrain, stripes, tmp_path / "out", **options).startswith(answer)
    assert not (tmp_path / "out").exists()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    answer = said(pretrain, tmp_path / "none", tmp_path / "out", epochs=np.int64(3), base_lr=np.float32(0.1))
    assert answer.startswith("data: there is no folder")


def test_recipes_and_their_fields(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert said(prepare, images, out, recipe="images") == (
        f"recipe: unknown recipe 'images'; expected {', '.join(RECIPES)}"
    )
    answer = said(prepare, images, out, stride=4)
    assert answer.startswith("prepare with recipe image_folder has no option 'stride'; ")
    assert said(prepare, images, out, modality="ct").startswith(
        "modality: modality 'ct' is volume3d, this recipe makes image2d samples"
    )
    assert said(prepare, images, out, splits={"fraction": 1}).startswith("splits.fraction: there is no such option")
    assert said(prepare, images, out, size=(30, 32)).startswith("size.0: expected a multiple of 16, found 30 (height")
    for size in (64, (64,), (64, 64, 64)):
        assert said(prepare, images, out, size=size).startswith(
            f"size: expected height and width, e.g. (64, 64), found {size} (height and width after resizing [pixel]; "
        )
    answer = said(prepare, images, out, "volume_folder", size=64)
    assert answer.startswith("size: expected depth, height and width, e.g. (16, 64, 64), found 64 (")
    answer = said(prepare, images, out, "volume_folder", label_names="liver")
    assert answer.startswith("label_names: expected several values, e.g. ('a', 'b'), found 'liver' (")
    assert said(prepare, images / "none", out) == f"raw: there is no folder {images / 'none'}"
    assert said(prepare, images, out, "volume_folder", label_suffix="_seg") == (
        "label_suffix and label_names go together: give both or neither"
    )
    assert not out.exists()


def test_folders_that_are_not_what_is_asked_for(images: Path, stripes: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", write_model(tmp_path / "model", "encoder", ["xray"])
    assert said(pretrain, images, out) == (
        f"data: {images} holds no dataset (meta.json is missing); expected the output of prepare or build_buffer"
    )
    assert said(pretrain, model, out) == (
        f"data: {model} holds a model; expected a dataset, the output of prepare or build_buffer"
    )
    assert said(pretrain, stripes, out, init_model=stripes) == (
        f"init_model: {stripes} holds a dataset; expected a model, the output of pretrain or finetune"
    )
    assert said(build_buffer, tmp_path / "none", stripes, out) == (
        f"model: there is no folder {tmp_path / 'none'}; expected the output of pretrain or finetune"
    )
    assert said(pretrain, stripes, out, init_model=model, rehearsal=[stripes, images]).startswith("rehearsal[1]: ")
    assert said(pretrain, stripes, out, rehearsal=stripes) == (
        "rehearsal: rehearsal needs init_model: the encoder that the buffers were built with"
    )
    assert said(pretrain, stripes, out, vocabulary=tmp_path / "v.txt") == (
        f"vocabulary: there is no file {tmp_path / 'v.txt'}; expected a BERT vocab.txt"
    )
    assert not out.exists()


def test_models_of_the_wrong_task(stripes: Path, tmp_path: Path) -> None:
    classifier = write_model(tmp_path / "classifier", "classification", ["xray"], ["a", "b"])
    for call in (
        lambda: pretrain(stripes, tmp_path / "out", init_model=classifier, quiet=True),
        lambda: finetune(stripes, tmp_path / "out", "classification", init_model=classifier, quiet=True),
    ):
        assert said(call) == (
            "init_model: this model is a classification model; expected an encoder from a pretrain job"
        )
    answer = said(finetune, stripes, tmp_path / "out", "detection")
    assert answer.startswith("task: expected 'classification' or 'segmentation', found 'detection'")
    other = write_model(tmp_path / "mr", "encoder", ["mr"])
    assert said(build_buffer, other, stripes, tmp_path / "out", quiet=True) == (
        "modality: the encoder has not learnt 'xray'; it knows mr"
    )


def test_help_and_completion_show_every_option() -> None:
    shown = inspect.signature(pretrain).parameters
    assert list(shown)[:2] == ["data", "out"]
    for name, field in PretrainOptions.model_fields.items():
        assert shown[name].default == field.default
        assert f"    {name}: {field.description}" in (pretrain.__doc__ or "")
    assert list(inspect.signature(finetune).parameters).count("task") == 1
    assert {"label_suffix", "findings_column", "max_bad_fraction"} <= set(inspect.signature(prepare).parameters)
