"""A run that was stopped or killed and resumed ends with the same bits as one that was not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from medcoss.run import LocalCheckpoints, LocalRun, Stopped
from medcoss.specs.buffers import BuildBufferSpec
from medcoss.specs.records import ModelInfo
from medcoss.specs.training import FinetuneSpec, PretrainSpec
from medcoss.training.finetune import finetune
from medcoss.training.pretrain import pretrain
from medcoss.training.rehearsal import build_buffer
from tests.medcoss.training.small import DATASET, MODEL, Killed, KilledAt, StopsAfter, reports, volumes, xrays

Work = Callable[[Path, LocalRun], ModelInfo]
SHORT = {"epochs": 100, "batch_size": 4, "log_every": 1, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def stage_one(folder: Path) -> Path:
    """An encoder that has learnt X-rays and reports."""
    spec = PretrainSpec(dataset=DATASET, size="tiny", max_steps=3, **SHORT)
    first, second = xrays(folder / "xrays"), reports(folder / "reports")
    pretrain(spec, first, None, [], folder / "one" / "model", LocalRun(folder / "run-one"))
    more = PretrainSpec(dataset=DATASET, init_model=MODEL, vocabulary_size=256, max_steps=3, **SHORT)
    pretrain(more, second, folder / "one" / "model", [], folder / "both" / "model", LocalRun(folder / "run-both"))
    return folder / "both" / "model"


@pytest.fixture(scope="module")
def buffers(folder: Path, stage_one: Path) -> list[Path]:
    spec = BuildBufferSpec(model=MODEL, dataset=DATASET, centers_fraction=0.2, buffer_fraction=0.5)
    for name in ("xrays", "reports"):
        build_buffer(spec, stage_one, folder / name, folder / f"{name}-buffer", LocalRun(folder / "run-buffer"))
    return [folder / "xrays-buffer", folder / "reports-buffer"]


def assert_resumable(work: Work, tmp_path: Path, steps: int) -> None:
    """Compare an undisturbed run with one that is stopped twice and one that is killed twice."""
    whole = work(tmp_path / "whole" / "model", LocalRun(tmp_path / "run-whole"))
    for stop in (2, 3):
        with pytest.raises(Stopped):
            work(tmp_path / "stopped" / "model", StopsAfter(tmp_path / "run-stopped", steps=stop))
    last = LocalRun(tmp_path / "run-stopped")
    stopped = work(tmp_path / "stopped" / "model", last)
    assert "info: resumed from the checkpoint at step 5" in last.lines
    for death in (3 + 2, steps):
        with pytest.raises(Killed):
            work(tmp_path / "killed" / "model", KilledAt(tmp_path / "run-killed", step=death))
    killed = work(tmp_path / "killed" / "model", LocalRun(tmp_path / "run-killed"))

    expected = (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()
    assert (tmp_path / "stopped" / "model" / "model.safetensors").read_bytes() == expected
    assert (tmp_path / "killed" / "model" / "model.safetensors").read_bytes() == expected
    assert stopped == killed == whole


def test_pretraining_with_rehearsal(tmp_path: Path, folder: Path, stage_one: Path, buffers: list[Path]) -> None:
    data = volumes(tmp_path / "mr")
    spec = PretrainSpec(
        dataset=DATASET, init_model=MODEL, rehearsal=(DATASET, DATASET), max_steps=9, base_lr=1e-2, drop_path=0.3,
        **SHORT,
    )  # fmt: skip

    def work(output: Path, run: LocalRun) -> ModelInfo:
        return pretrain(spec, data, stage_one, buffers, output, run)

    assert_resumable(work, tmp_path, 9)
    info = json.loads((tmp_path / "whole" / "model" / "config.json").read_text())
    assert info["modalities"] == ["xray", "report", "mr"]
    assert info["stage"] == 3
    assert (tmp_path / "whole" / "model" / "vocab.txt").read_bytes() == (stage_one / "vocab.txt").read_bytes()


def test_pretraining_on_reports_from_scratch(tmp_path: Path) -> None:
    # the vocabulary is learnt anew on every attempt and must be the same
    data = reports(tmp_path / "reports")
    spec = PretrainSpec(dataset=DATASET, size="tiny", vocabulary_size=256, max_steps=8, **SHORT)

    def work(output: Path, run: LocalRun) -> ModelInfo:
        return pretrain(spec, data, None, [], output, run)

    assert_resumable(work, tmp_path, 8)


@pytest.mark.parametrize("batch_size", [4, 8], ids=["plain", "standardised"])
def test_classification(tmp_path: Path, folder: Path, stage_one: Path, batch_size: int) -> None:
    spec = FinetuneSpec(
        task="classification", dataset=DATASET, init_model=MODEL, max_steps=8, lr=1e-3,
        **(SHORT | {"batch_size": batch_size}),
    )  # fmt: skip

    def work(output: Path, run: LocalRun) -> ModelInfo:
        return finetune(spec, folder / "xrays", stage_one, output, run)

    assert_resumable(work, tmp_path, 8)
    assert "spread.running_mean" not in load_file(tmp_path / "whole" / "model" / "model.safetensors")


@pytest.mark.parametrize("kind", ["images", "volumes"])
def test_segmentation(tmp_path: Path, stage_one: Path, kind: str) -> None:
    small = tmp_path / "data"
    data = xrays(small, masks=True) if kind == "images" else volumes(small, size=(16, 16, 32), masks=True)
    strength = "light" if kind == "images" else "strong"
    options = SHORT | {"augmentation": strength, "max_steps": 7}
    spec = FinetuneSpec(task="segmentation", dataset=DATASET, init_model=MODEL, **options)

    def work(output: Path, run: LocalRun) -> ModelInfo:
        return finetune(spec, data, stage_one, output, run)

    assert_resumable(work, tmp_path, 7)


def test_averages_the_best_weights_and_an_early_end(tmp_path: Path, folder: Path, stage_one: Path) -> None:
    """What decides which weights are kept goes on where it was, even in a run that is killed at its early end."""
    spec = FinetuneSpec(
        task="classification", dataset=DATASET, init_model=MODEL, lr=1e-6, layer_decay=0.7, ema_decay=0.9,
        steps_per_epoch=2, early_stopping=2, **(SHORT | {"epochs": 4}),
    )  # fmt: skip

    def work(output: Path, run: LocalRun) -> ModelInfo:
        return finetune(spec, folder / "xrays", stage_one, output, run)

    # the second epoch's score is the first one's, and so is the third's
    assert_resumable(work, tmp_path, 6)
    with pytest.raises(Stopped):
        work(tmp_path / "late" / "model", StopsAfter(tmp_path / "run-late", steps=6))
    last = LocalRun(tmp_path / "run-late")
    work(tmp_path / "late" / "model", last)
    assert "info: resumed from the checkpoint at step 6" in last.lines
    assert "info: ended at step 6: no better val/f1 for 2 epochs" in last.lines
    late = (tmp_path / "late" / "model" / "model.safetensors").read_bytes()
    assert late == (tmp_path / "whole" / "model" / "model.safetensors").read_bytes()


# checkpoints on a local disk


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text(text)
    return folder


def test_the_newest_whole_checkpoint_counts(tmp_path: Path) -> None:
    store = LocalCheckpoints(tmp_path / "store")
    store.root.mkdir()
    assert store.latest(tmp_path / "none") is None
    for step in (5, 10, 15):
        store.save(step, write(tmp_path / "work", f"at {step}"))
    assert sorted(p.name for p in store.root.iterdir()) == ["000000010", "000000015"], "two are kept"
    assert store.latest(tmp_path / "found") == 15
    assert (tmp_path / "found" / "weights").read_text() == "at 15"
    # damaged, half written, without its manifest: the one before counts
    newest = store.root / "000000015"
    (newest / "weights").write_text("damaged")
    assert store.latest(tmp_path / "found") == 10
    (newest / "manifest.json").unlink()
    assert store.latest(tmp_path / "found") == 10
    (store.root / "000000010" / "weights").unlink()
    assert store.latest(tmp_path / "found") is None


def test_what_kills_have_left_costs_no_whole_checkpoint(tmp_path: Path) -> None:
    store = LocalCheckpoints(tmp_path / "store")
    store.root.mkdir()
    store.save(100, write(tmp_path / "work", "at 100"))
    # two runs that were killed while they copied
    for step in (137, 142):
        (store.root / f"{step:09d}").mkdir()
    store.save(120, write(tmp_path / "work", "at 120"))
    assert sorted(p.name for p in store.root.iterdir()) == ["000000100", "000000120"]
    assert store.latest(tmp_path / "found") == 120


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    store = LocalCheckpoints(tmp_path / "store")
    store.root.mkdir()
    store.save(5, write(tmp_path / "work", "first"))
    (tmp_path / "work" / "weights").unlink()
    (tmp_path / "work" / "other").write_text("second")
    store.save(5, tmp_path / "work")
    store.latest(tmp_path / "found")
    assert sorted(p.name for p in (tmp_path / "found").iterdir()) == ["manifest.json", "other"]
