"""An imported encoder is one like any other: buffers, stages, heads and exports start from it."""

from pathlib import Path

import pytest
import torch

from medcoss.export.export import export
from medcoss.models.published import import_checkpoint
from medcoss.models.registry import load_encoder
from medcoss.run import BadInput, LocalRun
from medcoss.specs import BuildBufferSpec, ExportSpec, FinetuneSpec, PretrainSpec
from medcoss.training.finetune import finetune
from medcoss.training.pretrain import pretrain
from medcoss.training.rehearsal import build_buffer
from tests.medcoss.models.checkpoints import filled, medcoss_shapes, saved, uniperceiver_shapes, vocabulary
from tests.medcoss.training.small import DATASET, MODEL, reports, xrays


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("imported")


@pytest.fixture(scope="module")
def run(folder: Path) -> LocalRun:
    return LocalRun(folder / "run")


@pytest.fixture(scope="module")
def medcoss(folder: Path, run: LocalRun) -> Path:
    file = saved(folder / "medcoss.pth", filled(medcoss_shapes()))
    import_checkpoint(file, folder / "medcoss", run, vocabulary=vocabulary(folder / "vocab.txt"))
    return folder / "medcoss"


@pytest.fixture(scope="module")
def uniperceiver(folder: Path, run: LocalRun) -> Path:
    import_checkpoint(saved(folder / "uni.pth", filled(uniperceiver_shapes())), folder / "uni", run)
    return folder / "uni"


@pytest.fixture(scope="module")
def images(folder: Path) -> Path:
    return xrays(folder / "images")


def test_a_stage_goes_on_from_it(folder: Path, run: LocalRun, medcoss: Path, images: Path) -> None:
    buffer = BuildBufferSpec(model=MODEL, dataset=DATASET, centers_fraction=0.2, buffer_fraction=0.5)
    kept = build_buffer(buffer, medcoss, reports(folder / "reports"), folder / "buffer", run)
    assert (kept.modality, kept.role) == ("report", "buffer")
    spec = PretrainSpec(dataset=DATASET, init_model=MODEL, rehearsal=(DATASET,), epochs=1, max_steps=3, batch_size=4,
                        base_lr=1e-2, reconstructions=0)  # fmt: skip
    info = pretrain(spec, images, medcoss, [folder / "buffer"], folder / "next" / "model", run)
    assert (info.stage, info.size) == (6, "custom")
    assert info.modalities == ["report", "xray", "ct", "mr", "pathology"]
    assert (info.config["attention"], info.config["positions"]) == ("published", "flat")
    assert (folder / "next" / "model" / "vocab.txt").exists()
    before, after = load_encoder(medcoss)[0], load_encoder(folder / "next" / "model")[0]
    assert not torch.equal(before.blocks[0].attn.qkv.weight, after.blocks[0].attn.qkv.weight)


def test_a_first_stage_starts_from_uniperceiver(folder: Path, run: LocalRun, uniperceiver: Path, images: Path) -> None:
    spec = PretrainSpec(dataset=DATASET, init_model=MODEL, epochs=1, max_steps=2, batch_size=4, reconstructions=0)
    info = pretrain(spec, images, uniperceiver, [], folder / "first" / "model", run)
    assert (info.stage, info.modalities, info.modality) == (1, ["xray"], "xray")
    with pytest.raises(BadInput, match="the encoder has not learnt 'xray'; it knows none yet"):
        build_buffer(BuildBufferSpec(model=MODEL, dataset=DATASET), uniperceiver, images, folder / "none", run)


def test_a_head_is_trained_on_it(folder: Path, run: LocalRun, medcoss: Path, images: Path) -> None:
    spec = FinetuneSpec(task="classification", dataset=DATASET, init_model=MODEL, max_steps=2, batch_size=4)
    info = finetune(spec, images, medcoss, folder / "head" / "model", run)
    assert info.task == "classification"


def test_it_is_served(folder: Path, run: LocalRun, medcoss: Path, uniperceiver: Path) -> None:
    served = ExportSpec(model=MODEL, name="encoder", modality="xray")
    info = export(served, medcoss, folder / "triton", "python", 1, run)
    assert (info.modality, info.sample_shape, info.recipe["size"]) == ("xray", [3, 224, 224], [224, 224])
    with pytest.raises(BadInput, match="has learnt no modality yet; pre-train a stage on one first"):
        export(served, uniperceiver, folder / "none", "python", 1, run)
