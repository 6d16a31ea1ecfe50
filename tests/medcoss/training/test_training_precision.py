"""Number formats, micro-batches, compilation: what may change the speed must not change what is learnt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from medcoss.models.encoder import Block
from medcoss.run import BadInput, LocalRun, Stopped
from medcoss.specs.training import FinetuneSpec, PretrainSpec
from medcoss.training import compiling
from medcoss.training.compiling import compiled_blocks
from medcoss.training.distributed import Ranks
from medcoss.training.finetune import finetune
from medcoss.training.loop import Loop, LoopSettings
from medcoss.training.optim import adamw
from medcoss.training.precision import gradient_scaler, number_type, precision
from medcoss.training.pretrain import pretrain
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, reports, volumes, xrays

CPU = torch.device("cpu")
STAGE = {
    "dataset": DATASET, "init_model": MODEL, "rehearsal": (DATASET, DATASET), "epochs": 100, "max_steps": 13,
    "batch_size": 4, "base_lr": 0.1, "warmup_epochs": 0, "drop_path": 0.0, "log_every": 1, "reconstructions": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of the three kinds, and an encoder that knows reports and X-rays."""
    folder = tmp_path_factory.mktemp("precision")
    volumes(folder / "mr")
    xrays(folder / "xrays")
    reports(folder / "reports")
    write_model(folder / "first" / "model", "encoder", ["xray", "report"])
    return folder


def stage(folder: Path, name: str, **more: Any) -> tuple[dict[str, torch.Tensor], LocalRun]:
    """Weights and reports of a short stage on volumes that rehearses the other two."""
    run = LocalRun(folder / f"run-{name}")
    buffers = [folder / "xrays", folder / "reports"]
    pretrain(PretrainSpec(**(STAGE | more)), folder / "mr", folder / "first" / "model", buffers,
             folder / name / "model", run)  # fmt: skip
    return load_file(folder / name / "model" / "model.safetensors"), run


@pytest.fixture(scope="module")
def whole(folder: Path) -> tuple[dict[str, torch.Tensor], LocalRun]:
    """The stage in whole batches, in float32."""
    return stage(folder, "whole")


def rows(run: LocalRun, name: str) -> list[float]:
    return [row[name] for _, row in run.history if name in row]


def test_micro_batches_are_the_whole_batch(folder: Path, whole: tuple[dict[str, torch.Tensor], LocalRun]) -> None:
    weights, run = stage(folder, "parts", accumulate=2)
    first, _ = whole[0], whole[1]
    moved = max(float((first[n] - t).abs().max()) for n, t in load_file(
        folder / "first" / "model" / "model.safetensors").items())  # fmt: skip
    assert moved > 3e-3
    for name, tensor in first.items():
        assert torch.allclose(tensor, weights[name], atol=0.02 * moved), name
    for name in ("loss/mr", "distill/report", "distill/xray", "grad_norm"):
        # of reports, micro-batches hold different numbers of tokens
        assert rows(run, name) == pytest.approx(rows(whole[1], name), rel=2e-3), name


def test_micro_batches_of_reports_are_weighed_by_their_tokens(folder: Path) -> None:
    found = {}
    for parts in (1, 4):
        run = LocalRun(folder / f"run-words{parts}")
        spec = PretrainSpec(**(STAGE | {"rehearsal": (), "accumulate": parts, "max_steps": 4}))
        pretrain(spec, folder / "reports", folder / "first" / "model", [], folder / f"words{parts}" / "model", run)
        found[parts] = rows(run, "loss/report")
    assert found[4] == pytest.approx(found[1], rel=1e-4)


def test_fine_tuning_takes_micro_batches(folder: Path) -> None:
    losses = {}
    for parts in (1, 2):
        run = LocalRun(folder / f"run-fine{parts}")
        spec = FinetuneSpec(task="classification", dataset=DATASET, init_model=MODEL, max_steps=4, batch_size=4,
                            drop_path=0.0, lr=1e-3, log_every=1, accumulate=parts)  # fmt: skip
        finetune(spec, folder / "xrays", folder / "first" / "model", folder / f"fine{parts}" / "model", run)
        losses[parts] = rows(run, "loss")
    assert losses[2] == pytest.approx(losses[1], rel=1e-3)


def test_bfloat16_trains_on_a_cpu(folder: Path, whole: tuple[dict[str, torch.Tensor], LocalRun]) -> None:
    weights, run = stage(folder, "bf16", precision="bf16")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}, "the weights themselves stay float32"
    found, expected = rows(run, "loss/mr"), rows(whole[1], "loss/mr")
    assert found != expected
    assert found == pytest.approx(expected, rel=0.05)


def test_the_device_chooses_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    assert number_type(CPU) is torch.float32
    assert number_type(CPU, "bf16") is torch.bfloat16
    gpu = torch.device("cuda")
    for native, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert number_type(gpu) is expected
    assert number_type(gpu, "fp32") is torch.float32
    with precision(CPU, "bf16"):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.bfloat16
    with precision(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.float32
    assert gradient_scaler(CPU, "fp16").is_enabled()
    assert not gradient_scaler(CPU, "bf16").is_enabled()


# waiting for the device


class Reads(TorchDispatchMode):
    """Counts what a GPU would have to be waited for: reading a number, looking for places."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waits = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}
        self.count += func.name() in waits
        return func(*args, **(kwargs or {}))


class Blind:
    """Stands for the watch: that a GPU is not waited for there is tested elsewhere."""

    def add(self, step: int, *numbers: torch.Tensor) -> None:
        """Nothing."""

    def found(self, wait: bool = False) -> None:
        """Nothing."""


def test_no_step_waits_for_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcoss.training.loop.Watch", Blind)
    counts = []
    for steps in (3, 13):
        with Reads() as reads:
            stage(folder, f"reads{steps}", max_steps=steps, log_every=100, drop_path=0.3, clip_norm=1.0)
        counts.append(reads.count)
    assert counts[0] == counts[1], "ten more steps, of all three kinds, read nothing"


# float16


class Steps(Dataset[int]):
    """Step numbers as batches."""

    def __getitem__(self, index: int) -> int:
        return index


class Heights:
    """Fits a linear layer whose gradients overflow float16 at the scale that the scaler starts with."""

    frozen = None

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.modules: nn.Module = nn.Linear(4, 1, bias=False)
        self.weights: list[torch.Tensor] = []

    def loss(self, batch: int, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        self.weights.append(self.modules.weight.detach().clone())
        value = (self.modules(torch.ones(8, 4)) - 3).float().square().mean()
        return value, {"loss": value.detach()}

    def terms(self, batch: int) -> int:
        return 1


def fit(run: LocalRun, total: int) -> Heights:
    task = Heights()
    settings = LoopSettings(seed=0, log_every=1, precision="fp16", checkpoint_every=100, clip_norm=100.0)
    Loop(task, adamw(task.modules, 0.2, 0.0, (0.9, 0.95)), Steps(), total, lambda _: 0.2, run, settings,
         Ranks(CPU)).run()  # fmt: skip
    return task


def test_float16_leaves_out_steps_that_overflow_and_goes_on(tmp_path: Path) -> None:
    run = LocalRun(tmp_path)
    task = fit(run, 40)
    scales = rows(run, "loss_scale")
    assert scales[0] == 32768.0, "halved at the first step"
    assert torch.equal(task.weights[0], task.weights[1]), "which is left out"
    assert not torch.equal(task.weights[0], task.weights[-1])
    assert scales[-1] == scales[-10] < 65536.0, "until nothing overflows"
    assert np.isfinite(rows(run, "grad_norm")).all()
    assert rows(run, "loss")[-1] < 0.05 * rows(run, "loss")[0]


def test_float16_gives_up_when_every_step_overflows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(self: Heights, batch: int, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        # the root of nothing: 0, with an infinite slope
        value = (self.modules.weight * 0).sum().sqrt()
        return value, {"loss": value.detach()}

    monkeypatch.setattr(Heights, "loss", endless)
    run = LocalRun(tmp_path)
    with pytest.raises(BadInput, match=r"^precision: gradients overflow float16 in every step \(up to step 36\)"):
        fit(run, 60)
    assert not list((tmp_path / "checkpoints").iterdir())


def test_float16_goes_on_with_its_scale(tmp_path: Path) -> None:
    expected = fit(LocalRun(tmp_path / "whole"), 12)

    class Stops(LocalRun):
        def should_stop(self) -> bool:
            return True

    for _ in range(3):
        with pytest.raises(Stopped):
            fit(Stops(tmp_path / "stopped"), 12)
    run = LocalRun(tmp_path / "stopped")
    found = fit(run, 12)
    assert run.history[0][0] == 4
    assert torch.equal(found.modules.weight, expected.modules.weight)


# compilation


def test_without_a_compiler_training_goes_on(
    folder: Path, whole: tuple[dict[str, torch.Tensor], LocalRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(function: Any) -> Any:
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    monkeypatch.setattr(compiling.torch, "compile", fails)
    weights, run = stage(folder, "compiled", compile=True)
    line = "compile is on, but torch.compile does not work here (RuntimeError); training goes on without it"
    assert f"warning: {line}" in run.lines
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole[0].items())


def test_blocks_are_compiled_for_the_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "can_compile", lambda device: None)
    compiled: list[nn.Module] = []
    monkeypatch.setattr(Block, "compile", lambda self: compiled.append(self))
    module = nn.ModuleList([nn.Linear(2, 2), Block(8, 2), Block(8, 2)])
    with compiled_blocks([module], CPU, lambda line: None):
        assert compiled == [module[1], module[2]]
    assert module[1]._compiled_call_impl is None
