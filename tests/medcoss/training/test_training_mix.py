"""What takes part in a stage: joint training, weights, no rehearsal; and what is told of each modality."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from medcoss.evaluation.probes import pretext_head
from medcoss.modalities import Kind
from medcoss.models.pretext import LanguageHead, MaskedImageDecoder
from medcoss.run import BadInput, LocalRun
from medcoss.specs.training import PretrainOptions, PretrainSpec
from medcoss.training.pretrain import PretrainTask, pretrain
from medcoss.training.steps import PretrainSteps
from medcoss.training.telemetry import Telemetry
from tests.medcoss.training.small import DATASET, MODEL, reports, volumes, xrays
from tests.medcoss.training.test_training_pretrain import CPU, source, steps, values

QUICK = {"size": "tiny", "batch_size": 4, "log_every": 1, "vocabulary_size": 256, "reconstructions": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("mix")
    return {"xray": xrays(root / "xray"), "report": reports(root / "report"), "mr": volumes(root / "mr")}


def test_modalities_are_learnt_jointly_each_with_a_head(data: dict[str, Path], tmp_path: Path) -> None:
    run = LocalRun(tmp_path / "run")
    options = PretrainOptions(epochs=2, **QUICK)
    info = pretrain(options, data["xray"], None, [], tmp_path / "model", run, joint_dirs=[data["report"], data["mr"]])
    assert (info.stage, info.modality, info.modalities) == (1, "xray", ["xray", "report", "mr"])
    assert info.learnt_here == ["xray", "report", "mr"]
    assert info.recipes.keys() == {"xray", "report", "mr"}
    assert (tmp_path / "model" / "vocab.txt").is_file()
    counts = {name: len(values(run, f"loss/{name}")) for name in info.modalities}
    assert counts == {"xray": 6, "report": 8, "mr": 4}, "every whole batch of each, twice"
    assert not [name for _, row in run.history for name in row if name.startswith("distill/")]
    assert {f"val_loss/{name}" for name in info.modalities} <= info.metrics.keys()
    decoder = pretext_head(tmp_path / "model", Kind.VOLUME3D)
    assert isinstance(decoder, MaskedImageDecoder)
    assert decoder.reads((16, 32, 32)) and decoder.reads((32, 48))
    assert isinstance(pretext_head(tmp_path / "model", Kind.TEXT), LanguageHead)


def test_images_of_two_sizes_do_not_share_a_decoder(data: dict[str, Path], tmp_path: Path) -> None:
    other = xrays(tmp_path / "other", size=(48, 48))
    with pytest.raises(BadInput, match="joint: 'xray' is learnt from two datasets"):
        pretrain(PretrainOptions(**QUICK), data["xray"], None, [], tmp_path / "model",
                 LocalRun(tmp_path / "run"), joint_dirs=[other])  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "none", "init_model": MODEL, "rehearsal": (DATASET,)}, "method 'none' rehearses nothing"),
        ({"mix": {"xray": 0}}, "greater than 0"),
    ],
)
def test_methods_that_contradict_the_inputs_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PretrainSpec(dataset=DATASET, **fields)  # type: ignore[arg-type]


def test_weights_say_how_often_an_epoch_shows_a_modality(data: dict[str, Path], tmp_path: Path) -> None:
    plain, made = source(data["xray"]), steps([source(data["xray"])], epochs=4, mix={"xray": 0.34})
    assert (made.per_epoch, len(made)) == (1, 4), "a third of three batches"
    shown = np.concatenate([plain.indices[positions] for e in range(3) for _, positions in made.plan(e)])
    assert sorted(shown) == sorted(plain.indices), "three epochs show every sample once"
    twice = steps([source(data["xray"])], epochs=1, mix={"xray": 2.0})
    assert Counter(np.concatenate([p for _, p in twice.plan(0)]).tolist()) == dict.fromkeys(range(12), 2)
    assert twice.seen(6) == {"xray": 24}
    images = [twice[step].images for step in range(6)]
    assert len({image.tobytes() for image in images if image is not None}) == 6
    with pytest.raises(BadInput, match="mix: there is no 'ct' in this stage, which shows xray"):
        pretrain(PretrainOptions(mix={"ct": 2}, **QUICK), data["xray"], None, [], tmp_path / "m",
                 LocalRun(tmp_path / "run"))  # fmt: skip


def test_each_modality_is_told_of(data: dict[str, Path], tmp_path: Path) -> None:
    first, run = LocalRun(tmp_path / "first"), LocalRun(tmp_path / "run")
    pretrain(PretrainOptions(epochs=1, **QUICK), data["xray"], None, [], tmp_path / "first" / "model", first)
    options = PretrainOptions(epochs=2, mix={"mr": 3}, **QUICK)
    pretrain(options, data["mr"], tmp_path / "first" / "model", [data["xray"]], tmp_path / "model", run)
    last = run.history[-1][1]
    # 3 x 2 batches of MR and 3 of X-rays an epoch
    assert (last["samples_seen/mr"], last["samples_seen/xray"]) == (48, 24)
    rows = [row for _, row in run.history]
    assert sum("grad_norm/mr" in row for row in rows) == 12
    assert all(row["grad_norm/mr"] == pytest.approx(row["grad_norm"]) for row in rows if "grad_norm/mr" in row)
    assert {"samples_per_s/mr", "samples_per_s/xray"} <= {name for row in rows for name in row}


def test_the_weight_of_distillation_is_that_of_its_gradient(data: dict[str, Path]) -> None:
    from medcoss.models.encoder import Encoder
    from tests.medcoss.export.small_models import CONFIG

    torch.manual_seed(0)
    encoder, teacher = Encoder(CONFIG), Encoder(CONFIG)
    sources = [source(data["xray"]), source(data["xray"], rehearsal=True)]
    made: PretrainSteps = steps(sources)
    batch = next(made[step] for step in range(len(made)) if made[step].source == 1)
    heads = [MaskedImageDecoder(CONFIG, {"2d": (6, 768)})]
    one, ten = (PretrainTask(encoder, heads, teacher, sources, 0.5, weight).loss(batch, CPU) for weight in (1.0, 10.0))
    assert float(ten[0].detach()) == pytest.approx(10 * float(one[0].detach()))
    assert ten[1]["distill/xray"] == one[1]["distill/xray"], "what is told of it is the distance itself"


def test_a_modality_that_stops_learning_is_told_once_and_when_it_goes_on(tmp_path: Path) -> None:
    run = LocalRun(tmp_path)
    follow = Telemetry(lambda done: {"xray": done}, 100, 1, run)
    found = []
    for step in range(100):
        loss = {"loss/xray": math.exp(-step / 10) if step < 30 else 0.05 if step < 65 else 0.05 * 0.97 ** (step - 64)}
        found.append(follow(step + 1, loss).get("stalled/xray"))
    assert found[:29] == [None] * 29, "two windows of fifteen rows have to be there"
    assert found[33] == 0
    assert found[62] == 1
    assert found[84] == 0
    told = [line for line in run.lines if "xray" in line]
    assert [line.split(":")[0] for line in told] == ["warning", "info"]
    assert "'xray' has stopped learning at step" in told[0]
    assert [(name, modality) for name, modality, _ in run.events] == [
        ("stopped_learning", "xray"), ("learns_again", "xray"),
    ]  # fmt: skip
