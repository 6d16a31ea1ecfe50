"""The loss on held-out samples: what it is of, when it is told, and that it changes nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer, train_vocabulary
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import LanguageHead, MaskedImageDecoder
from medcoss.run import LocalRun, Stopped
from medcoss.specs.encoder import SIZES
from medcoss.specs.records import ModelInfo
from medcoss.specs.training import PretrainSpec
from medcoss.training import heldout
from medcoss.training.heldout import held_out_loss
from medcoss.training.pretrain import PretrainTask, pretrain
from medcoss.training.steps import Source
from tests.medcoss.training.small import DATASET, StopsAfter, reports, xrays
from tests.medcoss.training.test_training_reports import scalars

CPU = torch.device("cpu")


def spec(**more: Any) -> PretrainSpec:
    short = {"dataset": DATASET, "size": "tiny", "epochs": 3, "batch_size": 4, "reconstructions": 0}
    return PretrainSpec(**(short | more))


def told(run: LocalRun) -> dict[int, float]:
    return {step: row["val_loss/xray"] for step, row in run.history if "val_loss/xray" in row}


def task_of(kind: str, folder: Path) -> PretrainTask:
    torch.manual_seed(0)
    if kind == "xray":
        reader, tokenizer, config = ShardReader(xrays(folder / "data", 4, held_out=7)), None, SIZES["tiny"]
        head: torch.nn.Module = MaskedImageDecoder(config, {"2d": (6, 768)})
    else:
        reader = ShardReader(reports(folder / "data", held_out=7))
        words = train_vocabulary([row.text for row in reader.rows], 256)
        (folder / "vocab.txt").write_text("\n".join(words))
        tokenizer = Tokenizer(folder / "vocab.txt")
        config = SIZES["tiny"].with_vocabulary(tokenizer.size)
        head = LanguageHead(config)
    source = Source(reader, False, reader.indices("train"), tokenizer)
    return PretrainTask(Encoder(config), [head], None, [source], 0.75)


@pytest.mark.parametrize("kind", ["xray", "report"])
def test_it_is_a_mean_that_batches_do_not_change(tmp_path: Path, kind: str) -> None:
    task, run = task_of(kind, tmp_path), LocalRun(tmp_path / "run")
    task.encoder.set_drop_path(0.5)
    task.modules.train()
    found = [
        held_out_loss(task, spec(batch_size=size, accumulate=parts), run, CPU)()
        for size, parts in ((7, 1), (7, 1), (8, 4), (1, 1))
    ]
    assert found[0] == found[1], "the same masks and no drop path"
    assert found[0][f"val_samples/{kind}"] == 7
    assert 0.1 < found[0][f"val_loss/{kind}"] < 20
    for other in found[2:]:
        assert other == pytest.approx(found[0], rel=1e-5)
    assert held_out_loss(task, spec(seed=1), run, CPU)() != pytest.approx(found[0], rel=1e-5), "other masks"
    assert all(p.grad is None for p in task.modules.parameters())


def test_it_is_of_a_few_samples_of_val_in_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heldout, "AT_MOST", 5)
    task, seen = task_of("xray", tmp_path), list[int]()
    reader = task.sources[0].reader
    read = reader.image
    monkeypatch.setattr(reader, "image", lambda index: seen.append(index) or read(index))
    measure = held_out_loss(task, spec(), LocalRun(tmp_path), CPU)
    assert measure() == measure()
    assert measure()["val_samples/xray"] == 5
    assert seen[:5] == seen[5:10] == sorted(set(seen))
    assert set(seen) < set(reader.indices("val").tolist())


def test_it_is_told_with_every_picture_and_at_the_end(tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")
    info = pretrain(spec(picture_every=2, epochs=5), xrays(tmp_path / "data"), None, [], tmp_path / "model", run)
    found = told(run)
    assert list(found) == [6, 12, 15], "three steps an epoch"
    assert info.metrics == {"val_loss/xray": found[15], "val_samples/xray": 4}
    assert dict(run.history)[15].keys() >= {"loss/xray", "val_loss/xray"}, "one row a step"
    lines = [line for line in run.lines if line.startswith("info: step ")]
    assert [line.split(":")[1] for line in lines] == [f" step {step} of 15" for step in found]
    assert all(f"val_loss/xray {value:.4g}" in line for line, value in zip(lines, found.values(), strict=True))
    (path,) = (run.root / "artifacts" / "tensorboard").iterdir()
    shown = {step: value for (step, name), value in scalars(path).items() if name == "val_loss/xray"}
    assert shown == pytest.approx(found, rel=1e-5)


def test_without_a_split_it_is_said_once(tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")
    data = xrays(tmp_path / "data", held_out=0)
    info = pretrain(spec(picture_every=1), data, None, [], tmp_path / "model", run)
    assert not told(run) and not info.metrics
    assert len([line for line in run.lines if "there is no val_loss" in line]) == 1


def test_measuring_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, found = xrays(tmp_path / "data"), []
    for measured in (True, False):
        if not measured:
            monkeypatch.setattr("medcoss.training.pretrain.held_out_loss", lambda *_: dict)
        model = tmp_path / str(measured) / "model"
        run = LocalRun(tmp_path / f"run{measured}")
        pretrain(spec(picture_every=1, base_lr=0.1, drop_path=0.3), data, None, [], model, run)
        assert len(told(run)) == 3 * measured
        found.append((model / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_a_run_stopped_at_its_last_step_has_it(tmp_path: Path) -> None:
    data, found = xrays(tmp_path / "data"), list[ModelInfo]()
    with pytest.raises(Stopped):
        pretrain(spec(max_steps=3), data, None, [], tmp_path / "model", StopsAfter(tmp_path / "run", steps=3))
    for name in ("run", "whole"):
        found.append(pretrain(spec(max_steps=3), data, None, [], tmp_path / "model", LocalRun(tmp_path / name)))
    assert found[0].metrics == found[1].metrics
    assert found[0].metrics["val_samples/xray"] == 4


def test_a_loss_that_is_not_finite_is_named_and_not_told(tmp_path: Path) -> None:
    task, run = task_of("xray", tmp_path), LocalRun(tmp_path)
    with torch.no_grad():
        task.encoder.class_token.fill_(float("nan"))
    assert held_out_loss(task, spec(), run, CPU)() == {}
    assert "no val_loss: the loss is not finite for a batch of 'xray', samples 4, 5, 6, 7" in run.lines[-1]
