"""Stages of continual pre-training: they learn, rehearse, and hand on what the model knows."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import SPECIAL, Tokenizer
from medcoss.models.encoder import Encoder
from medcoss.models.pretext import MaskedImageDecoder
from medcoss.models.registry import load_encoder
from medcoss.run import BadInput, LocalRun
from medcoss.specs.training import PretrainSpec
from medcoss.training.masking import IGNORED, mask_words
from medcoss.training.pretrain import PretrainTask, pretrain
from medcoss.training.steps import PretrainSteps, Source, mix_images, mix_reports, mixing
from tests.medcoss.export.small_models import CONFIG
from tests.medcoss.training.small import DATASET, MODEL, reports, volumes, xrays

CPU = torch.device("cpu")
QUICK = {"dataset": DATASET, "size": "tiny", "batch_size": 6, "log_every": 1, "drop_path": 0.0, "warmup_epochs": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pretrain")


@pytest.fixture(scope="module")
def xray_data(folder: Path) -> Path:
    return xrays(folder / "xrays")


@pytest.fixture(scope="module")
def report_data(folder: Path) -> Path:
    return reports(folder / "reports")


@pytest.fixture(scope="module")
def first_stage(folder: Path, xray_data: Path) -> tuple[Path, LocalRun]:
    """A short stage on X-rays and what it reported."""
    run = LocalRun(folder / "run-first")
    spec = PretrainSpec(epochs=70, base_lr=0.1, mask_ratio=0.5, augment=False, **QUICK)
    pretrain(spec, xray_data, None, [], folder / "first" / "model", run)
    return folder / "first" / "model", run


def values(run: LocalRun, name: str) -> list[float]:
    return [row[name] for _, row in run.history if name in row]


def steps(sources: list[Source], **more: object) -> PretrainSteps:
    settings = {"batch_size": 4, "epochs": 3, "seed": 0, "text_mask_ratio": 0.15, "mixup": True, "augment": False}
    return PretrainSteps(sources, **(settings | more))  # type: ignore[arg-type]


def source(data: Path, rehearsal: bool = False, tokenizer: Tokenizer | None = None) -> Source:
    reader = ShardReader(data)
    return Source(reader, rehearsal, reader.indices("train"), tokenizer)


# whole stages


def test_masked_modelling_of_images_learns(first_stage: tuple[Path, LocalRun]) -> None:
    losses = values(first_stage[1], "loss/xray")
    assert len(losses) == 140
    assert np.isfinite(losses).all()
    # patches are normalised: answering with their mean costs 1
    assert 0.9 < losses[0] < 1.5
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:3])
    rates = values(first_stage[1], "lr")
    assert rates[0] == 0
    assert max(rates) == pytest.approx(0.1 * 6 / 256, rel=1e-3)
    assert first_stage[1].done == (140, 140)


def test_masked_modelling_of_reports_learns(folder: Path, report_data: Path) -> None:
    run = LocalRun(folder / "run-text")
    spec = PretrainSpec(epochs=60, base_lr=0.2, vocabulary_size=256, **QUICK)
    info = pretrain(spec, report_data, None, [], folder / "text" / "model", run)
    losses = values(run, "loss/report")
    words = Tokenizer(folder / "text" / "model" / "vocab.txt").size
    assert losses[0] > 0.6 * math.log(words)
    assert np.mean(losses[-10:]) < 0.7 * losses[0]
    assert info.metrics["masked_word_accuracy/report"] >= 0
    (table,) = (run.root / "artifacts").glob("*.*")
    assert {"original", "masked", "predicted"} == json.loads(table.read_text())[0].keys()


def test_a_stage_describes_itself(first_stage: tuple[Path, LocalRun]) -> None:
    model, info = load_encoder(first_stage[0])
    assert (info.task, info.size, info.stage) == ("encoder", "tiny", 1)
    assert info.modalities == ["xray"]
    assert info.recipes["xray"] == info.recipe
    assert info.sample_shape == [1, 32, 48]
    assert info.metrics.keys() == {"reconstruction/xray", "val_loss/xray", "val_samples/xray"}
    assert not model.training
    assert model.blocks[0].drop_path1.drop_prob == 0
    assert any(name.startswith("pretext.") for name in load_file(first_stage[0] / "model.safetensors"))
    picture = first_stage[1].root / "artifacts" / "reconstruction_xray.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_next_stage_goes_on_from_the_encoder(
    folder: Path, first_stage: tuple[Path, LocalRun], xray_data: Path
) -> None:
    spec = PretrainSpec(
        init_model=MODEL, rehearsal=(DATASET,), epochs=6, base_lr=0.02, **(QUICK | {"drop_path": 0.1})
    )  # fmt: skip
    run = LocalRun(folder / "run-second")
    info = pretrain(spec, volumes(folder / "mr"), first_stage[0], [xray_data], folder / "second" / "model", run)
    assert info.modalities == ["xray", "mr"]
    assert (info.stage, info.modality) == (2, "mr")
    assert info.recipes.keys() == {"xray", "mr"}
    assert np.isfinite(values(run, "distill/xray")).all()
    assert len(values(run, "distill/xray")) == 6 * 2, "twelve X-rays to train with are two batches of six"
    assert len(values(run, "loss/mr")) == 6
    before, after = (load_encoder(f / "model")[0].state_dict() for f in (folder / "first", folder / "second"))
    moved = (before["blocks.0.attn.qkv.weight"] - after["blocks.0.attn.qkv.weight"]).abs().mean()
    scratch = Encoder(CONFIG).state_dict()["blocks.0.attn.qkv.weight"]
    assert 0 < moved < 0.2 * (before["blocks.0.attn.qkv.weight"] - scratch).abs().mean()


def test_new_words_join_an_encoder_that_has_read_none(
    folder: Path, first_stage: tuple[Path, LocalRun], report_data: Path
) -> None:
    spec = PretrainSpec(init_model=MODEL, max_steps=2, vocabulary_size=256, **QUICK)
    run = LocalRun(folder / "run-words")
    info = pretrain(spec, report_data, first_stage[0], [], folder / "words" / "model", run)
    assert info.modalities == ["xray", "report"]
    model, _ = load_encoder(folder / "words" / "model")
    assert model.text_embedding is not None
    assert model.text_embedding.words.num_embeddings == Tokenizer(folder / "words" / "model" / "vocab.txt").size


def test_bad_starts_are_named(folder: Path, first_stage: tuple[Path, LocalRun], report_data: Path) -> None:
    run = LocalRun(folder / "run-bad")
    spec = PretrainSpec(init_model=MODEL, rehearsal=(DATASET,), max_steps=1, **QUICK)
    with pytest.raises(BadInput, match="rehearsal: the buffer holds 'report', which init_model has not learnt"):
        pretrain(spec, volumes(folder / "mr2"), first_stage[0], [report_data], folder / "bad" / "model", run)
    alone = PretrainSpec(max_steps=1, **QUICK)
    with pytest.raises(BadInput, match="no training samples"):
        pretrain(alone, xrays(folder / "none", 0), None, [], folder / "bad" / "model", run)
    with pytest.raises(BadInput, match="one single patch"):
        pretrain(alone, xrays(folder / "one", 4, (16, 16)), None, [], folder / "bad" / "model", run)


# losses


def task_of(sources: list[Source], teacher: Encoder | None = None) -> PretrainTask:
    torch.manual_seed(3)
    encoder = Encoder(CONFIG.with_vocabulary(60))
    return PretrainTask(encoder, [MaskedImageDecoder(CONFIG, {"2d": (6, 768)})], teacher, sources, 0.5)


def frozen_copy(task: PretrainTask) -> Encoder:
    teacher = Encoder(CONFIG.with_vocabulary(60))
    teacher.load_state_dict(task.modules["encoder"].state_dict())
    return teacher.eval().requires_grad_(False)


def test_distillation_moves_the_encoder_alone(xray_data: Path) -> None:
    sources = [source(xray_data, rehearsal=True)]
    task = task_of(sources)
    task.teacher = frozen_copy(task)
    batch = steps(sources)[0]
    loss, named = task.loss(batch, CPU)
    assert named == {"distill/xray": 0.0}, "a student that has not moved differs in nothing"
    with torch.no_grad():
        task.teacher.blocks[0].attn.proj.bias += 0.1
    loss, _ = task.loss(batch, CPU)
    loss.backward()
    assert loss > 0
    assert all(p.grad is None for p in task.modules["head"].parameters())
    assert all(p.grad is None for p in task.teacher.parameters())
    assert task.modules["encoder"].image_embedding.projection.weight.grad.abs().max() > 0
    assert task.modules["encoder"].volume_embedding.projection.weight.grad is None


def test_distillation_target_is_what_the_teacher_sees_under_the_same_mask(xray_data: Path) -> None:
    sources = [source(xray_data, rehearsal=True)]
    task = task_of(sources)
    torch.manual_seed(9)
    task.teacher = Encoder(CONFIG.with_vocabulary(60)).eval().requires_grad_(False)
    task.modules.eval()
    batch = steps(sources)[1]
    loss, _ = task.loss(batch, CPU)
    images = torch.from_numpy(batch.images)
    kept = torch.from_numpy(batch.noise).argsort(dim=1, stable=True)[:, :3]
    student, teacher = (net.encode_image(images, kept) for net in (task.modules["encoder"], task.teacher))
    assert student.shape[1] == 4, "class token and three visible patches"
    assert loss.item() == pytest.approx(((student - teacher) ** 2).mean().item(), rel=1e-5)


def vocabulary(folder: Path) -> Tokenizer:
    words = sorted({word for sentence in (folder / "words.txt").read_text().split("\n") for word in sentence.split()})
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words]))
    return Tokenizer(folder / "vocab.txt")


@pytest.fixture(scope="module")
def tokenizer(folder: Path, report_data: Path) -> Tokenizer:
    reader = ShardReader(report_data)
    (folder / "words.txt").write_text("\n".join(row.text for row in reader.rows))
    return vocabulary(folder)


def test_padding_is_not_distilled(report_data: Path, tokenizer: Tokenizer) -> None:
    sources = [source(report_data, rehearsal=True, tokenizer=tokenizer)]
    task = task_of(sources)
    task.teacher = frozen_copy(task)
    with torch.no_grad():
        # the teacher differs in the embedding of padding alone
        task.teacher.text_embedding.words.weight[tokenizer.pad_id] += 1
    assert task.loss(steps(sources, mixup=False)[0], CPU)[0].item() == 0


def test_reconstruction_moves_encoder_and_head(xray_data: Path) -> None:
    sources = [source(xray_data)]
    task = task_of(sources)
    loss, named = task.loss(steps(sources)[0], CPU)
    loss.backward()
    assert named.keys() == {"loss/xray"}
    assert task.modules["head"].pixels["2d"].weight.grad.abs().max() > 0
    assert task.modules["encoder"].image_embedding.projection.weight.grad.abs().max() > 0


# batches


def test_batches_are_a_function_of_the_step(xray_data: Path, report_data: Path, tokenizer: Tokenizer) -> None:
    sources = [source(xray_data), source(report_data, rehearsal=True, tokenizer=tokenizer)]
    forward = steps(sources, augment=True)
    backward = steps(sources, augment=True)
    assert len(forward) == 3 * forward.per_epoch == 3 * (12 // 4 + 16 // 4)
    found = [forward[i] for i in range(len(forward))]
    for i in reversed(range(len(backward))):
        other = backward[i]
        assert other.source == found[i].source
        for name in ("images", "noise", "ids", "attention", "labels"):
            first, second = getattr(found[i], name), getattr(other, name)
            assert (first is None and second is None) or np.array_equal(first, second)


def test_an_epoch_holds_every_source_in_mixed_order(xray_data: Path, report_data: Path, tokenizer: Tokenizer) -> None:
    sources = [source(xray_data), source(report_data, rehearsal=True, tokenizer=tokenizer)]
    planned = steps(sources)
    orders = set()
    for epoch in range(3):
        numbers = [number for number, _ in planned.plan(epoch)]
        assert sorted(numbers) == [0, 0, 0, 1, 1, 1, 1]
        orders.add(tuple(numbers))
        seen = np.concatenate([positions for number, positions in planned.plan(epoch) if number == 0])
        assert sorted(seen) == list(range(12))
    assert len(orders) > 1


def test_rehearsal_is_mixed_and_the_new_modality_is_not(xray_data: Path) -> None:
    plain = steps([source(xray_data)])[0]
    stored = {ShardReader(xray_data).image(i).tobytes() for i in range(12)}
    assert all(image.tobytes() in stored for image in plain.images)
    mixed = steps([source(xray_data, rehearsal=True)])[0]
    assert sum(image.tobytes() in stored for image in mixed.images) < 4
    unmixed = steps([source(xray_data, rehearsal=True)], mixup=False)[0]
    assert all(image.tobytes() in stored for image in unmixed.images)


def test_mixing_images_is_a_convex_combination() -> None:
    images = np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1) * np.ones((8, 1, 4, 4), np.float32)
    shares, others = mixing(8, np.random.default_rng(0))
    mixed = mix_images(images, images[others], shares)
    assert mixed.dtype == np.float32
    assert mixed.shape == images.shape
    assert np.ptp(mixed.reshape(8, -1), axis=1).max() < 1e-6, "one share a sample"
    assert images.min() <= mixed.min()
    assert mixed.max() <= images.max()
    assert len(np.unique(mixed[:, 0, 0, 0])) > 6


def test_mixing_reports_takes_token_and_attention_from_the_same_report() -> None:
    ids = np.repeat(np.arange(6)[:, None], 40, axis=1)
    attention = (ids % 2).astype(np.int64)
    mixed, seen = mix_reports(ids, attention, np.random.default_rng(1))
    assert np.array_equal(seen, mixed % 2)
    for row in range(6):
        assert len(set(mixed[row])) <= 2
        assert row in mixed[row]


@pytest.mark.parametrize("rehearsal", [False, True])
def test_ranks_make_the_rows_of_their_share_alone(
    xray_data: Path, report_data: Path, tokenizer: Tokenizer, rehearsal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [source(xray_data, rehearsal), source(report_data, rehearsal, tokenizer)]
    read: list[int] = []
    reads = ShardReader.image
    monkeypatch.setattr(ShardReader, "image", lambda self, i: read.append(i) or reads(self, i))
    whole, part = steps(sources, batch_size=8, augment=True), steps(sources, batch_size=8, augment=True)
    part.share = slice(1, None, 4)
    for step in range(whole.per_epoch):
        expected = whole[step]
        read.clear()
        found = part[step]
        for name in ("images", "noise", "ids", "attention", "labels"):
            array = getattr(expected, name)
            assert array is None or np.array_equal(array[1::4], getattr(found, name)), name
        assert len(read) <= (4 if rehearsal else 2)


def test_a_buffer_smaller_than_a_batch_is_used_whole(folder: Path) -> None:
    small = source(xrays(folder / "few", 3, held_out=0), rehearsal=True)
    planned = steps([small])
    assert planned.per_epoch == 1
    assert planned[0].images.shape[0] == 3


# masking of reports


def test_masking_draws_whole_words(tokenizer: Tokenizer, report_data: Path) -> None:
    reader = ShardReader(report_data)
    drawn, masked, kept, words = 0, 0, 0, 0
    for index in range(len(reader)):
        encoded = tokenizer.encode(reader.text(index))
        for seed in range(30):
            ids, labels = mask_words(encoded, tokenizer, 0.3, np.random.default_rng([index, seed]))
            places = labels != IGNORED
            assert places.any()
            assert np.array_equal(labels[places], encoded.ids[places])
            assert np.array_equal(ids[~places], encoded.ids[~places])
            assert (encoded.words[places] >= 0).all(), "never [CLS], [SEP] or padding"
            real = int((encoded.words >= 0).sum())
            assert places.sum() <= max(round(0.3 * real), 1)
            for word in set(encoded.words[places]):
                assert places[encoded.words == word].all()
            drawn, words = drawn + int(places.sum()), words + real
            masked += int((ids[places] == tokenizer.mask_id).sum())
            kept += int((ids[places] == labels[places]).sum())
    assert 0.2 < drawn / words < 0.31
    assert 0.76 < masked / drawn < 0.86
    assert 0.07 < kept / drawn < 0.16
