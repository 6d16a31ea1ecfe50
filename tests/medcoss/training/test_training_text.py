"""Stages on reports: vocabularies, batches of like lengths, published sampling and padding."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import SPECIAL, Tokenizer, train_vocabulary
from medcoss.models.registry import load_encoder, read_info, save_model
from medcoss.run import BadInput, LocalRun
from medcoss.specs.training import PretrainSpec
from medcoss.training.pretrain import pretrain
from medcoss.training.steps import PretrainSteps, Source
from tests.medcoss.training.small import DATASET, MODEL, SENTENCES, reports, volumes, xrays

QUICK = {"dataset": DATASET, "size": "tiny", "batch_size": 4, "max_steps": 1, "reconstructions": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    return reports(folder / "data", count=64)


@pytest.fixture(scope="module")
def vocabulary(folder: Path) -> Path:
    """A vocabulary of other word pieces than the reports would give."""
    path = folder / "given.txt"
    path.write_text("\n".join([*train_vocabulary(SENTENCES[:3], 120), "pneumothorax"]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def own_words(folder: Path, data: Path, vocabulary: Path) -> Path:
    """An encoder that was trained with the given vocabulary."""
    pretrain(PretrainSpec(**QUICK), data, None, [], folder / "own" / "model", LocalRun(folder / "run"), vocabulary)
    return folder / "own" / "model"


def steps_of(data: Path, vocabulary: Path, **more: object) -> PretrainSteps:
    reader = ShardReader(data)
    source = Source(reader, False, reader.indices("train"), Tokenizer(vocabulary))
    settings = {"batch_size": 8, "epochs": 2, "seed": 0, "text_mask_ratio": 0.15, "mixup": True, "augment": False}
    return PretrainSteps([source], **(settings | more))  # type: ignore[arg-type]


def test_the_users_vocabulary_is_used_and_travels_along(own_words: Path, vocabulary: Path) -> None:
    assert (own_words / "vocab.txt").read_bytes() == vocabulary.read_bytes()
    encoder, _ = load_encoder(own_words)
    assert encoder.config.vocabulary == Tokenizer(vocabulary).size


def test_a_second_vocabulary_is_refused(folder: Path, data: Path, own_words: Path, vocabulary: Path) -> None:
    spec = PretrainSpec(init_model=MODEL, **QUICK)
    with pytest.raises(BadInput, match="vocabulary: init_model has a vocabulary, its embeddings mean nothing"):
        pretrain(spec, data, own_words, [], folder / "bad" / "model", LocalRun(folder / "run-bad"), vocabulary)


def test_an_encoder_whose_vocabulary_is_lost_needs_it(
    folder: Path, data: Path, own_words: Path, vocabulary: Path
) -> None:
    lost = folder / "lost"
    lost.mkdir()
    for name in ("config.json", "model.safetensors"):
        (lost / name).write_bytes((own_words / name).read_bytes())
    spec = PretrainSpec(init_model=MODEL, **QUICK)
    run, out = LocalRun(folder / "run-lost"), folder / "found" / "model"
    with pytest.raises(BadInput, match="vocabulary: init_model has word embeddings but no vocabulary"):
        pretrain(spec, data, lost, [], out, run)
    images = volumes(folder / "mr")
    rehearsing = PretrainSpec(init_model=MODEL, rehearsal=(DATASET,), **QUICK)
    with pytest.raises(BadInput, match="vocabulary: init_model has no vocabulary to read reports with"):
        pretrain(rehearsing, images, lost, [data], out, run)
    large = folder / "large.txt"
    words = [*SPECIAL, *(f"w{i}" for i in range(500))]
    large.write_text("\n".join(words), encoding="utf-8")
    with pytest.raises(BadInput, match="vocabulary: 505 word pieces for an encoder with"):
        pretrain(spec, data, lost, [], out, run, large)
    pretrain(spec, data, lost, [], out, run, vocabulary)
    assert (out / "vocab.txt").read_bytes() == vocabulary.read_bytes()


def test_a_broken_vocabulary_is_named(folder: Path, data: Path) -> None:
    broken = folder / "broken.txt"
    broken.write_text("the\nlungs\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"broken\.txt: the vocabulary lacks \[PAD\], \[UNK\]"):
        pretrain(PretrainSpec(**QUICK), data, None, [], folder / "x" / "model", LocalRun(folder / "run-x"), broken)


def test_batches_hold_reports_of_like_lengths_cut_to_the_longest(data: Path, vocabulary: Path) -> None:
    steps = steps_of(data, vocabulary)
    lengths = steps.sources[0].lengths
    assert lengths is not None
    assert lengths.min() < lengths.max()
    real, computed = 0, 0
    for step in range(steps.per_epoch):
        batch = steps[step]
        assert batch.ids is not None and batch.attention is not None
        assert batch.attention.sum(axis=1).max() == batch.ids.shape[1]
        real, computed = real + int(batch.attention.sum()), computed + batch.ids.size
    random_order = 8 * sum(lengths[i : i + 8].max() for i in range(0, 64, 8))
    assert 1 - real / computed < 0.6 * (1 - real / random_order)


def test_published_padding_is_kept(data: Path, vocabulary: Path) -> None:
    batch = steps_of(data, vocabulary, padding=True)[0]
    assert batch.ids is not None
    assert batch.ids.shape == (8, 112)


def test_published_sampling_repeats_samples(folder: Path) -> None:
    reader = ShardReader(xrays(folder / "images", count=32))
    source = Source(reader, False, reader.indices("train"))
    settings = {"batch_size": 8, "epochs": 2, "seed": 0, "text_mask_ratio": 0.15, "mixup": True, "augment": False}
    seen = {}
    for replacement in (False, True):
        steps = PretrainSteps([source], replacement=replacement, **settings)  # type: ignore[arg-type]
        assert steps.per_epoch == 4
        seen[replacement] = len(np.unique(np.concatenate([positions for _, positions in steps.plan(0)])))
    assert seen[False] == 32 > seen[True]


def test_a_table_larger_than_the_vocabulary_is_no_trap(folder: Path, data: Path, own_words: Path) -> None:
    # as an imported checkpoint: most rows of the table stand for no word
    wide, encoder = folder / "wide", load_encoder(own_words)[0]
    info = read_info(own_words)
    encoder.config = encoder.config.with_vocabulary(2000)
    encoder.text_embedding.words = torch.nn.Embedding(2000, encoder.config.dim)  # type: ignore[union-attr]
    save_model(encoder, info.model_copy(update={"config": encoder.config.to_dict()}), wide, own_words / "vocab.txt")
    spec = PretrainSpec(init_model=MODEL, **(QUICK | {"reconstructions": 16}))
    run = LocalRun(folder / "run-wide")
    pretrain(spec, data, wide, [], folder / "wider" / "model", run)
    table = json.loads((run.root / "artifacts" / "reconstruction_report.json").read_text())
    assert len(table) == 4
    assert all(row["predicted"] for row in table)


def test_what_is_drawn_again_is_masked_anew(data: Path, vocabulary: Path) -> None:
    steps = steps_of(data, vocabulary, replacement=True, batch_size=64)
    positions = steps.plan(0)[0][1]
    values, counts = np.unique(positions, return_counts=True)
    labels = steps[0].labels
    assert labels is not None
    pairs = [np.flatnonzero(positions == value)[:2] for value in values[counts > 1]]
    assert any(not np.array_equal(labels[a], labels[b]) for a, b in pairs)


def test_a_stage_with_the_published_attention_trains(folder: Path, data: Path) -> None:
    spec = PretrainSpec(attention="published", positions="flat", sampling="with_replacement", **QUICK)
    run = LocalRun(folder / "run-published")
    pretrain(spec, data, None, [], folder / "published" / "model", run)
    encoder, _ = load_encoder(folder / "published" / "model")
    assert (encoder.config.attention, encoder.config.positions) == ("published", "flat")
    assert np.isfinite(run.history[-1][1]["loss/report"])
