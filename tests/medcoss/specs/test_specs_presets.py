"""Presets: the published settings, what wins over them, and the datasets that they are for."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from medcoss.modalities import Kind
from medcoss.specs import FinetuneSpec, fit
from medcoss.specs.postprocess import LargestComponent, Within
from medcoss.specs.presets import PRESETS, PresetName
from medcoss.specs.records import DatasetInfo

DATASET = "ds_00000000"
CLASSIFY, SEGMENT = "classification", "segmentation"
# task, sample, classes, epochs, learning rate, batch, steps of an epoch: as published
PUBLISHED: dict[str, tuple[Any, ...]] = {
    "pubmed20k": (CLASSIFY, (112,), 5, 5, 2e-4, 64, None),
    "chestxr": (CLASSIFY, (224, 224), 3, 80, 5e-5, 32, None),
    "qata": (SEGMENT, (224, 224), 1, 100, 1e-4, 16, None),
    "ricord": (CLASSIFY, (64, 192, 192), 2, 200, 1e-5, 8, None),
    "lits": (SEGMENT, (64, 192, 192), 2, 100, 1e-4, 2, 250),
    "vs": (SEGMENT, (64, 192, 192), 1, 100, 1e-4, 2, 250),
    "la": (SEGMENT, (64, 192, 192), 1, 80, 5e-5, 2, 250),
    "nct_crc": (CLASSIFY, (224, 224), 9, 10, 1e-4, 32, None),
    "glas": (SEGMENT, (512, 512), 1, 100, 1e-4, 4, None),
}


def dataset(shape: tuple[int, ...], classes: int, masks: bool) -> DatasetInfo:
    kind = {1: Kind.TEXT, 2: Kind.IMAGE2D, 3: Kind.VOLUME3D}[len(shape)]
    names = [f"class{i}" for i in range(classes)]
    return DatasetInfo(
        modality="report" if kind is Kind.TEXT else "xray", kind=kind, samples=9, splits={"train": 9}, classes=names,
        has_masks=masks, sample_shape=[*shape] if kind is Kind.TEXT else [1, *shape], recipe={},
    )  # fmt: skip


def misfits(spec: FinetuneSpec, info: DatasetInfo) -> list[fit.Misfit]:
    return [m for m in fit.finetuning(spec, info, None) if m.field != "init_model"]


def test_the_nine_tasks_have_presets() -> None:
    assert set(get_args(PresetName)) == set(PRESETS) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_and_a_dataset_are_enough(name: str) -> None:
    task, shape, classes, *numbers = PUBLISHED[name]
    spec = FinetuneSpec.model_validate({"preset": name, "dataset": DATASET})
    assert [spec.epochs, spec.lr, spec.batch_size, spec.steps_per_epoch] == numbers
    assert (spec.task, spec.weight_decay, spec.clip_norm) == (task, 1e-4, 12.0)
    assert misfits(spec, dataset(shape, classes, task == SEGMENT)) == []
    (wrong,) = misfits(spec, dataset(shape, classes + 1, task == SEGMENT))
    assert wrong.field == "preset" and f"the preset '{name}' is for" in wrong.detail
    (wrong,) = misfits(spec, dataset(tuple(n // 2 for n in shape), classes, task == SEGMENT))
    assert " x ".join(map(str, shape)) in wrong.detail


def test_windows_are_cut_out_of_whole_slices() -> None:
    """Livers are wider than 192 voxels of 0.8 mm: samples are whole slices, of which training sees windows."""
    spec = FinetuneSpec.model_validate({"preset": "lits", "dataset": DATASET})
    assert spec.window == (64, 192, 192)
    slices = dataset((64, 512, 512), 2, True)
    whole = slices.model_copy(update={"recipe": {"name": "lits"}})
    assert misfits(spec, whole) == []
    (wrong,) = misfits(spec, whole.model_copy(update={"sample_shape": [1, 16, 512, 512]}))
    assert wrong.field == "preset" and "64 x 192 x 192" in wrong.detail
    (wrong,) = misfits(spec, slices)
    assert wrong.field == "preset", "slices of another recipe are of another size because they were resized"
    own = FinetuneSpec(dataset=DATASET, task=SEGMENT, window=(16, 16, 16))
    assert [m.field for m in misfits(own, slices)] == ["window"] and misfits(own, whole) == []
    (wrong,) = misfits(own.model_copy(update={"task": CLASSIFY}), dataset((16, 32, 32), 2, False))
    assert wrong.field == "window" and "whole samples" in wrong.detail


def test_organs_are_one_part_and_tumours_lie_in_their_livers() -> None:
    own = {name: FinetuneSpec.model_validate({"preset": name, "dataset": DATASET}).postprocess for name in PUBLISHED}
    assert own["la"] == (LargestComponent(of=0),)
    assert own["lits"] == (LargestComponent(of=0), Within(of=1, organ=0))
    assert {name for name, steps in own.items() if steps} == {"la", "lits"}
    spec = FinetuneSpec.model_validate({"preset": "la", "dataset": DATASET, "postprocess": []})
    assert spec.postprocess == () and FinetuneSpec.model_validate(spec.asked) == spec
    wrong = spec.model_copy(update={"postprocess": own["lits"]})
    (misfit,) = misfits(wrong, dataset((64, 192, 192), 1, True))
    assert misfit == fit.Misfit("postprocess/1", "there is no class 1 in the dataset; its classes are class0")


def test_what_is_given_wins_and_the_stored_spec_says_the_same() -> None:
    # 8 is the default without a preset: given, it is no less given
    spec = FinetuneSpec.model_validate({"preset": "lits", "dataset": DATASET, "batch_size": 8, "lr": 1e-3})
    assert (spec.batch_size, spec.lr, spec.epochs) == (8, 1e-3, 100)
    assert FinetuneSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert FinetuneSpec.model_validate(spec.asked) == spec
    assert "size" not in spec.asked, "what nobody asked for is not asked for"
    (wrong,) = misfits(spec.model_copy(update={"task": CLASSIFY}), dataset((64, 192, 192), 2, True))[:1]
    assert wrong == fit.Misfit("task", "the preset 'lits' is for segmentation, not classification; leave one out")


@pytest.mark.parametrize("name", ["lit", 3, ["lits"]])
def test_an_unknown_preset_names_those_there_are(name: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        FinetuneSpec.model_validate({"preset": name, "dataset": DATASET})
    (error,) = caught.value.errors()
    assert error["loc"] == ("preset",)
    assert all(f"'{known}'" in error["msg"] for known in PRESETS)
