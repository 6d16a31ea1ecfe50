"""What a run tells on its way: numbers, pictures, volumes, event files."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tensorboardX.proto.event_pb2 import Event
from timm.models.vision_transformer import Block

from medcoss.run import LocalRun, Stopped
from medcoss.specs.devices import peak_tflops
from medcoss.specs.training import PretrainSpec
from medcoss.training import reconstruct
from medcoss.training.distributed import Ranks
from medcoss.training.meter import FlopCount, Meter
from medcoss.training.pretrain import pretrain
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import DATASET, MODEL, Killed, KilledAt, StopsAfter, volumes, xrays

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> LocalRun:
    """A stage on volumes that rehearses X-rays, and volumes of the same and of another shape."""
    folder = tmp_path_factory.mktemp("told")
    data = volumes(folder / "mr", tiles=1)
    rehearsed = [xrays(folder / "xrays", 4, held_out=0), volumes(folder / "same", 4, tiles=1)]
    model = write_model(folder / "first" / "model", "encoder", ["xray", "mr"])
    spec = PretrainSpec(dataset=DATASET, init_model=MODEL, rehearsal=(DATASET, DATASET), epochs=5, batch_size=2,
                        picture_every=2, log_every=3, reconstructions=2)  # fmt: skip
    run = LocalRun(folder / "run")
    pretrain(spec, data, model, rehearsed, folder / "out" / "model", run)
    return run


def test_a_row_says_how_fast_and_how_large(told: LocalRun) -> None:
    row = dict(told.history)[3]
    expected = {"lr", "grad_norm", "steps_per_s", "samples_per_s", "tflops_per_s", "data_wait", "peak_memory_gib"}
    assert expected <= row.keys()
    assert "mfu" not in row, "nobody knows the peak of a CPU"
    assert row["samples_per_s"] == pytest.approx(2 * row["steps_per_s"])
    assert row["tflops_per_s"] > 0
    assert 0 < row["data_wait"] < 1
    assert 0.05 < row["peak_memory_gib"] < 16
    assert row["grad_norm"] > 0


def events(path: Path) -> list[Event]:
    """The records of an event file: length, checksum, event, checksum."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return found


def scalars(path: Path) -> dict[tuple[int, str], float]:
    return {(e.step, v.tag): v.simple_value for e in events(path) for v in e.summary.value}


def test_event_files_hold_the_rows(told: LocalRun) -> None:
    (path,) = (told.root / "artifacts" / "tensorboard").iterdir()
    assert path.name == "events.out.tfevents.000000000"
    expected = {(step, name): value for step, row in told.history for name, value in row.items()}
    assert scalars(path) == pytest.approx(expected, rel=1e-5)


def test_a_run_that_goes_on_begins_a_new_event_file(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data")
    spec = PretrainSpec(dataset=DATASET, size="tiny", max_steps=4, batch_size=4, log_every=1, reconstructions=0)
    with pytest.raises(Stopped):
        pretrain(spec, data, None, [], tmp_path / "model", StopsAfter(tmp_path / "run", steps=2))
    pretrain(spec, data, None, [], tmp_path / "model", LocalRun(tmp_path / "run"))
    first, second = sorted((tmp_path / "run" / "artifacts" / "tensorboard").iterdir())
    assert (first.name[-9:], second.name[-9:]) == ("000000000", "000000002")
    assert {step for step, _ in scalars(first)} == {1, 2}
    assert {step for step, _ in scalars(second)} == {3, 4}
    assert any(e.HasField("session_log") and e.step == 3 for e in events(second)), "what lies after step 2 is replaced"


def test_a_killed_run_leaves_the_rows_up_to_its_checkpoint(tmp_path: Path) -> None:
    data = xrays(tmp_path / "data")
    spec = PretrainSpec(dataset=DATASET, size="tiny", max_steps=7, batch_size=4, log_every=1, checkpoint_every=2,
                        reconstructions=0)  # fmt: skip
    with pytest.raises(Killed):
        pretrain(spec, data, None, [], tmp_path / "model", KilledAt(tmp_path / "run", step=6))
    kept = tmp_path / "run" / "artifacts" / "tensorboard"
    (first,) = kept.iterdir()
    assert {step for step, _ in scalars(first)} == {1, 2, 3, 4}
    pretrain(spec, data, None, [], tmp_path / "model", LocalRun(tmp_path / "run"))
    steps = [{step for step, _ in scalars(path)} for path in sorted(kept.iterdir())]
    assert steps == [{1, 2, 3, 4}, {5, 6, 7}], "no hole"


def test_pictures_are_made_in_batches_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, found, sizes = xrays(tmp_path / "data"), [], list[int]()
    whole = reconstruct._filled_batch

    def counted(task: Any, images: torch.Tensor, *more: Any) -> Any:
        sizes.append(len(images))
        return whole(task, images, *more)

    monkeypatch.setattr(reconstruct, "_filled_batch", counted)
    for batch in (2, 8):
        spec = PretrainSpec(dataset=DATASET, size="tiny", max_steps=1, batch_size=batch, reconstructions=3,
                            base_lr=1e-9)  # fmt: skip
        run = LocalRun(tmp_path / f"run{batch}")
        found.append(pretrain(spec, data, None, [], tmp_path / "model", run).metrics["reconstruction/xray"])
    assert sizes == [2, 1, 3]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_pictures_come_every_so_many_epochs_and_at_the_end(told: LocalRun) -> None:
    names = {p.name for p in (told.root / "artifacts").iterdir() if p.is_file()}
    places = ["", "_epoch00002", "_epoch00004"]
    parts = [".png", "_input.nii.gz", "_masked.nii.gz", "_reconstructed.nii.gz"]
    assert names == {f"reconstruction_mr{place}{part}" for place in places for part in parts}
    assert told.history[-1][0] == 30, "training went on after each"


def test_volumes_can_be_opened_beside_each_other(told: LocalRun) -> None:
    images = {part: sitk.ReadImage(str(told.root / "artifacts" / f"reconstruction_mr_epoch00004_{part}.nii.gz"))
              for part in ("input", "masked", "reconstructed")}  # fmt: skip
    assert {image.GetSpacing() for image in images.values()} == {(0.5, 1.5, 2.0)}
    arrays = {part: sitk.GetArrayFromImage(image) for part, image in images.items()}
    assert {a.shape for a in arrays.values()} == {(16, 32, 32)}
    hidden = arrays["masked"] != arrays["input"]
    assert 0.7 < hidden.mean() <= 0.75
    assert np.isfinite(arrays["reconstructed"]).all()
    assert np.array_equal(arrays["reconstructed"][~hidden], arrays["input"][~hidden])
    assert not np.array_equal(arrays["reconstructed"][hidden], arrays["input"][hidden])


def test_pictures_change_no_bit(tmp_path: Path) -> None:
    data = volumes(tmp_path / "data", tiles=1)
    found = []
    for every in (1, 100):
        spec = PretrainSpec(dataset=DATASET, size="tiny", epochs=3, batch_size=2, base_lr=0.1, drop_path=0.3,
                            picture_every=every)  # fmt: skip
        run, model = LocalRun(tmp_path / f"run{every}"), tmp_path / f"out{every}" / "model"
        pretrain(spec, data, None, [], model, run)
        found.append((model / "model.safetensors").read_bytes())
        pictures = len(list((run.root / "artifacts").glob("*.png")))
        assert pictures == (3 if every == 1 else 1)
    assert found[0] == found[1]


# counting


def test_operations_are_those_of_the_formula() -> None:
    dim, length, batch = 48, 17, 2
    block = Block(dim, 3, qkv_bias=True)
    x = torch.randn(batch, length, dim, requires_grad=True)
    counts = FlopCount()
    calls: list[int] = []

    def work() -> torch.Tensor:
        calls.append(1)
        loss: torch.Tensor = block(x).sum()
        loss.backward()
        return loss

    _, found = counts.of("block", work)
    # forward, and twice that backward; attention computes its scores once more on the way back
    linear = 3 * 2 * batch * length * 12 * dim**2
    attention = (2 + 2 * 2 + 1) * 2 * batch * length**2 * dim
    assert found == linear + attention
    assert counts.of("block", work)[1] == found
    assert len(calls) == 2
    with torch.no_grad():
        assert counts.of("forward", lambda: block(x))[1] == linear // 3 + 2 * 2 * batch * length**2 * dim


def test_counting_changes_no_bit() -> None:
    torch.manual_seed(0)
    block, x = Block(48, 3, qkv_bias=True), torch.randn(2, 17, 48)
    grads = []
    counts = FlopCount()

    def work() -> torch.Tensor:
        block.zero_grad()
        loss: torch.Tensor = block(x).square().sum()
        loss.backward()
        return loss

    for _ in range(2):
        counts.of("block", work)
        grads.append([p.grad.clone() for p in block.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0), ("NVIDIA L40S", 362.0), ("Tesla T4", 65.0), ("NVIDIA GeForce RTX 3090", 71.0),
        ("NVIDIA A10", 125.0), ("NVIDIA GeForce RTX 2060", None), ("", None),
    ],
)  # fmt: skip
def test_peaks_are_known_by_the_device_s_name(name: str, peak: float | None) -> None:
    assert peak_tflops(name) == peak


def test_the_share_of_waiting_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0
    monkeypatch.setattr("medcoss.training.meter.time.monotonic", lambda: moment)
    meter = Meter(Ranks(CPU), peak=100.0)
    for _ in range(2):
        with meter.waiting():
            moment += 1.0
        moment += 3.0
        meter.add({"loss/a": torch.tensor(2.0)}, torch.tensor(5.0), 6, 3 * 10**12)
    row: dict[str, Any] = meter.row()
    assert row["data_wait"] == pytest.approx(0.25)
    assert (row["steps_per_s"], row["samples_per_s"]) == pytest.approx((0.25, 1.5))
    assert row["tflops_per_s"] == pytest.approx(0.75)
    assert row["mfu"] == pytest.approx(0.0075)
    assert (row["loss/a"], row["grad_norm"]) == (2.0, 5.0)
    moment += 1.0
    meter.add({"loss/b": torch.tensor(1.0)}, torch.tensor(1.0), 1, 0)
    again = meter.row()
    assert "loss/b" in again and "loss/a" not in again
