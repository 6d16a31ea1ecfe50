"""Which weights a fine-tuning keeps, and at what rate its layers learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medcoss.data.shards import ShardReader
from medcoss.evaluation.metrics import classification_scores
from medcoss.evaluation.predict import class_probabilities
from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier
from medcoss.models.registry import load_model
from medcoss.run import BadInput, LocalRun
from medcoss.specs.encoder import SIZES
from medcoss.specs.training import FinetuneSpec
from medcoss.training.finetune import finetune
from medcoss.training.optim import adamw
from medcoss.training.selection import Selection
from tests.medcoss.training.small import DATASET, xrays


def spec(**more: object) -> FinetuneSpec:
    return FinetuneSpec.model_validate({"task": "classification", "dataset": DATASET, "size": "tiny"} | more)


def followed(values: list[float], **more: object) -> tuple[Selection, nn.Linear]:
    """A selection that has seen one epoch of a step for each score; the weight is the number of the step."""
    model, left = nn.Linear(1, 1, bias=False), iter(values)
    selection = Selection(model, spec(**more), "f1", lambda _: {"f1": next(left)}, True, per_epoch=1)
    for step in range(1, len(values) + 1):
        if selection.ended:
            break
        nn.init.constant_(model.weight, step)
        selection.stepped(step)
        selection.validate()
    return selection, model


@pytest.mark.parametrize(
    ("values", "more", "kept", "steps"),
    [
        ([0.1, 0.9, 0.3, 0.2], {}, 2, 4),
        ([0.1, 0.9, 0.9, 0.2], {}, 3, 4),
        ([0.1, 0.9, 0.3, 0.2], {"keep": "last"}, 4, 4),
        ([0.5, 0.4, 0.4, 0.9], {"early_stopping": 2}, 1, 3),
        # the same score again is no better one
        ([0.5, 0.5, 0.5, 0.9], {"early_stopping": 2}, 3, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.4, 0.9], {"early_stopping": 2}, 3, 5),
    ],
)
def test_the_best_weights_are_kept_until_patience_ends(
    values: list[float], more: dict[str, object], kept: int, steps: int
) -> None:
    selection, model = followed(values, **more)
    selection.apply()
    assert (model.weight.item(), selection.done) == (kept, steps)
    assert selection.ended == ("early_stopping" in more)


def test_the_average_follows_the_weights_and_is_what_is_judged() -> None:
    selection, model = followed([0.1] * 50, ema_decay=0.9, keep="last")
    average = selection.judged.weight.item()  # type: ignore[union-attr,operator]
    assert 30 < average < 49, "behind the weight of step 50, but not at the start"
    selection.apply()
    assert model.weight.item() == average


def test_layers_learn_the_slower_the_deeper_they_are() -> None:
    model = Classifier(Encoder(SIZES["tiny"]), Kind.IMAGE2D, 2)
    names = {id(p): name for name, p in model.named_parameters()}
    scales = {names[id(p)]: g["lr_scale"] for g in adamw(model, 1e-3, 0.1, (0.9, 0.999), 0.5).param_groups
              for p in g["params"]}  # fmt: skip
    assert set(scales) == set(names.values())
    depth = SIZES["tiny"].depth
    assert scales["head.weight"] == 1.0
    assert {scales[n] for n in scales if n.startswith(f"encoder.blocks.{depth - 1}.")} == {0.5}
    assert {scales[n] for n in scales if n.startswith("encoder.blocks.0.")} == {0.5**depth}
    assert scales["encoder.class_token"] == 0.5 ** (depth + 1)
    assert {g["lr_scale"] for g in adamw(model, 1e-3, 0.1, (0.9, 0.999)).param_groups} == {1.0}


def test_a_run_validates_every_epoch_and_stores_its_best(tmp_path: Path) -> None:
    data, run = xrays(tmp_path / "data", 12), LocalRun(tmp_path / "run")
    options = {"epochs": 4, "batch_size": 4, "lr": 3e-3, "log_every": 100, "drop_path": 0.0}
    info = finetune(spec(**options), data, None, tmp_path / "model", run)
    seen = {step: row["val/f1"] for step, row in run.history if "val/f1" in row and "train/f1" not in row}
    assert list(seen) == [3, 6, 9, 12]
    best = max(step for step, value in seen.items() if value == max(seen.values()))
    assert any(f"the weights of step {best} are kept" in line for line in run.lines)
    reader, (model, _) = ShardReader(data), load_model(tmp_path / "model")
    assert isinstance(model, Classifier)
    chosen = reader.indices("val")
    found = class_probabilities(model, reader, chosen, 4, None)
    labels = np.array([reader.label(int(i)) for i in chosen])
    assert info.metrics["val/f1"] == pytest.approx(classification_scores(found, labels)["f1"])
    assert info.metrics["val/f1"] == pytest.approx(max(seen.values()))


def test_a_frozen_encoder_stays_what_it_was_under_an_average(tmp_path: Path) -> None:
    options = {"max_steps": 2, "batch_size": 4, "freeze_encoder": True, "ema_decay": 0.5, "layer_decay": 0.5}
    finetune(spec(**options), xrays(tmp_path / "data", 8), None, tmp_path / "model", LocalRun(tmp_path / "run"))
    model, _ = load_model(tmp_path / "model")
    torch.manual_seed(0)
    for name, tensor in Encoder(SIZES["tiny"]).state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], tensor), name


def test_there_is_no_early_end_without_validation(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data", 8)
    reader = ShardReader(data)
    without = reader.info.model_copy(update={"splits": {"train": 8}, "labelled": {"train": 8}})
    (data / "meta.json").write_text(without.model_dump_json())
    with pytest.raises(BadInput, match=r"^early_stopping: .*no labelled samples in the split 'val'"):
        finetune(spec(early_stopping=3), data, None, tmp_path / "model", LocalRun(tmp_path / "run"))
