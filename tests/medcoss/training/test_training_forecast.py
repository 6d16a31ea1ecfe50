"""What a forecast says of a training is what the training does: steps, operations, checkpoints, memory."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch.profiler import ProfilerActivity, profile

from medcoss.data.shards import ShardReader
from medcoss.models.registry import read_info
from medcoss.run import LocalRun
from medcoss.specs.costs import Shape
from medcoss.specs.encoder import SIZES, EncoderConfig
from medcoss.specs.footprint import Source, Training, finetuning, pretraining
from medcoss.specs.plan import Steps, training_steps
from medcoss.specs.training import FinetuneOptions, PretrainOptions
from medcoss.training.finetune import finetune
from medcoss.training.pretrain import pretrain
from tests.medcoss.training.small import reports, volumes, xrays

# wide enough for its tensors to outweigh what no forecast counts
CONFIG = EncoderConfig(
    dim=96, depth=4, heads=3, layer_scale=0.1, decoder_dim=48, decoder_depth=2, decoder_heads=3, feature_size=4
)  # fmt: skip
LOOP: dict[str, Any] = {"size": "tiny", "log_every": 1, "checkpoint_every": 2, "batch_size": 8}


@dataclass
class Ran:
    """A run that is over, and the most bytes that its tensors had together."""

    run: LocalRun
    peak: int

    def checkpoint(self) -> int:
        """Bytes of the last checkpoint: an earlier one may lack the state of what had not been trained yet."""
        newest = max(self.run.checkpoints.root.glob("*/manifest.json")).parent
        return sum(f.stat().st_size for f in newest.iterdir() if f.suffix != ".json")

    def operations(self) -> float:
        """Floating-point operations of all steps."""
        rows = [row for _, row in self.run.history if "tflops_per_s" in row]
        return sum(row["tflops_per_s"] / row["steps_per_s"] for row in rows) * 1e12


def measured(run: LocalRun, work: Callable[[LocalRun], Any]) -> Ran:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work(run)
    total = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()
            peak = max(peak, total)
    return Ran(run, peak)


@pytest.fixture
def wider(monkeypatch: pytest.MonkeyPatch) -> EncoderConfig:
    monkeypatch.setitem(SIZES, "tiny", CONFIG)
    return CONFIG


def source(folder: Path, rehearsal: bool = False) -> Source:
    info = ShardReader(folder).info
    return Source(Shape.of(info.kind, info.sample_shape), info.splits["train"], rehearsal)


def agree(ran: Ran, forecast: Training, steps: Steps, *, exact: bool = True) -> None:
    """`exact`: of reports, only the longest length is known beforehand."""
    assert ran.run.done == (steps.total, steps.total)
    assert forecast.checkpoint() == pytest.approx(ran.checkpoint(), rel=0.02)
    stored = (ran.run.root / "model" / "model.safetensors").stat().st_size
    assert forecast.model() == pytest.approx(stored, rel=0.02)
    ratio = sum(forecast.memory().values()) / ran.peak
    work = forecast.operations * steps.total / steps.per_epoch / ran.operations()
    assert 0.8 < ratio < (1.25 if exact else 6), f"memory {ratio:.2f}"
    assert 0.9 < work < (1.15 if exact else 12), f"operations {work:.2f}"


def stage(folder: Path, name: str, data: Path, **options: Any) -> tuple[PretrainOptions, Ran]:
    chosen = PretrainOptions(**(LOOP | {"epochs": 1, "reconstructions": 0} | options))
    init, buffers = (folder / "first" / "model", [folder / "xrays"]) if name == "next" else (None, [])
    run = LocalRun(folder / name)
    return chosen, measured(run, lambda r: pretrain(chosen, data, init, buffers, r.root / "model", r))


def test_stages_are_foretold(tmp_path: Path, wider: EncoderConfig) -> None:
    images, deep = source(xrays(tmp_path / "xrays", 27, (96, 96))), source(volumes(tmp_path / "mr", 9, (16, 48, 64)))
    for name, options in (("first", {}), ("cut", {"accumulate": 4}), ("few", {"max_steps": 3, "epochs": 2})):
        chosen, ran = stage(tmp_path, name, tmp_path / "xrays", **options)
        steps = training_steps([27], 8, chosen.epochs, chosen.max_steps)
        agree(ran, pretraining(chosen, wider, [images]), steps)
    chosen, ran = stage(tmp_path, "next", tmp_path / "mr")
    rehearsed = Source(images.shape, images.samples, rehearsal=True)
    agree(ran, pretraining(chosen, wider, [deep, rehearsed]), training_steps([18, 27], 8, 1, None))


def test_a_stage_on_reports_is_foretold_at_their_full_length(tmp_path: Path, wider: EncoderConfig) -> None:
    data = reports(tmp_path / "reports", 40)
    chosen, ran = stage(tmp_path, "words", data)
    config = EncoderConfig(**read_info(tmp_path / "words" / "model").config)
    agree(ran, pretraining(chosen, config, [source(data)]), training_steps([40], 8, 1, None), exact=False)


@pytest.mark.parametrize(
    ("task", "deep", "frozen"),
    [("classification", False, False), ("classification", False, True), ("segmentation", False, False),
     ("segmentation", True, True)],
)  # fmt: skip
def test_fine_tuning_is_foretold(tmp_path: Path, wider: EncoderConfig, task: str, deep: bool, frozen: bool) -> None:
    folder, masks = tmp_path / "data", task == "segmentation"
    data = volumes(folder, 9, (16, 32, 48), masks=masks) if deep else xrays(folder, 20, (64, 64), masks=masks)
    options = FinetuneOptions(task=task, freeze_encoder=frozen, epochs=2, **LOOP)
    ran = measured(LocalRun(tmp_path / "run"), lambda r: finetune(options, data, None, r.root / "model", r))
    steps = training_steps([source(data).samples], 8, 2, None)
    agree(ran, finetuning(options, wider, source(data), len(ShardReader(data).info.classes or [])), steps)
