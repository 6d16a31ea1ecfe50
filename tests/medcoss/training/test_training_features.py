"""Features of all samples: the same in every batch, no work on padding, kept when the run ends early."""

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.models.encoder import Embedder
from medcoss.models.registry import encoder_for, load_encoder
from medcoss.run import BadInput, LocalCheckpoints, LocalRun, Stopped
from medcoss.training import features as module
from medcoss.training.features import features, identity, model_inputs
from tests.medcoss.export.small_models import write_model
from tests.medcoss.training.small import Killed, StopsAfter, reports, xrays


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("features") / "model", "encoder", ["xray", "report"])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    return ShardReader(xrays(tmp_path_factory.mktemp("images") / "data", 23))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    """Reports of many different lengths."""
    reader = ShardReader(reports(tmp_path_factory.mktemp("texts") / "data", 23))
    lengths = np.random.default_rng(0).integers(1, 100, len(reader))
    reader.rows = [
        replace(row, text=" ".join(f"word{(i * 7 + k) % 95}" for k in range(n)))
        for i, (row, n) in enumerate(zip(reader.rows, lengths, strict=True))
    ]
    return reader


def embedder_of(folder: Path, modality: str, attention: str = "bidirectional") -> Embedder:
    encoder, info = load_encoder(folder)
    encoder.config = replace(encoder.config, attention=attention)
    return encoder_for(encoder, info, modality)


@dataclass
class Seen:
    """Shapes of all batches that an embedder gets."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, _: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.shapes.append(tuple(inputs[0].shape))

    @property
    def samples(self) -> int:
        return sum(shape[0] for shape in self.shapes)


def test_features_do_not_depend_on_the_batch(tmp_path: Path, encoder: Path, images: ShardReader) -> None:
    embedder, indices = embedder_of(encoder, "xray"), images.indices("train")
    whole, parts = (features(embedder, images, indices, tmp_path / str(n), LocalRun(tmp_path / f"run{n}"), batch_size=n)
                    for n in (23, 3))  # fmt: skip
    assert whole.shape == (23, 48)
    assert whole.dtype == np.float32
    assert np.allclose(whole, parts, atol=1e-5)
    with torch.inference_mode():
        assert np.allclose(whole[4:5], embedder(*model_inputs(images, indices[4:5], None)), atol=1e-5)


@pytest.mark.parametrize("attention", ["bidirectional", "published"])
def test_reports_cost_what_they_are_long(tmp_path: Path, encoder: Path, texts: ShardReader, attention: str) -> None:
    embedder, indices = embedder_of(encoder, "report", attention), texts.indices("train")
    tokenizer, seen = Tokenizer(encoder / "vocab.txt"), Seen()
    with torch.inference_mode():
        padded = embedder(*model_inputs(texts, indices, tokenizer)).numpy()
    embedder.register_forward_pre_hook(seen)
    found = features(embedder, texts, indices, tmp_path / "work", LocalRun(tmp_path / "run"), batch_size=4,
                     tokenizer=tokenizer)  # fmt: skip
    # in the order of the samples, whatever order they came in
    assert np.allclose(found, padded, atol=1e-5)
    lengths = sorted((len(texts.text(int(i)).split()) + 2 for i in indices), reverse=True)
    longest = [lengths[start] for start in range(0, 23, 4)]
    # padding counts in the published feature
    assert [shape[1] for shape in seen.shapes] == (longest if attention == "bidirectional" else [112] * 6)


@pytest.mark.parametrize("kind", ["xray", "report"])
def test_a_stopped_run_goes_on_and_computes_nothing_twice(tmp_path: Path, encoder: Path, images: ShardReader,
                                                          texts: ShardReader, kind: str) -> None:  # fmt: skip
    reader = images if kind == "xray" else texts
    indices, tokenizer = reader.indices("train"), Tokenizer(encoder / "vocab.txt")
    embedder, seen = embedder_of(encoder, kind), Seen()
    options = {"batch_size": 4, "tokenizer": tokenizer, "identity": "same"}
    whole = features(embedder, reader, indices, tmp_path / "whole", LocalRun(tmp_path / "a"), **options)
    embedder.register_forward_pre_hook(seen)
    for steps in (3, 3):
        with pytest.raises(Stopped):
            features(embedder, reader, indices, tmp_path / "work", StopsAfter(tmp_path / "b", steps=steps), **options)
    last = LocalRun(tmp_path / "b")
    resumed = features(embedder, reader, indices, tmp_path / "work", last, **options)
    assert "info: resumed with the features of 16 samples" in last.lines
    assert seen.samples == 23
    assert np.array_equal(resumed, whole)
    assert last.done == (23, 23)


def test_finished_features_that_took_long_are_kept_for_the_clustering(
    tmp_path: Path, encoder: Path, images: ShardReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, seen, indices = embedder_of(encoder, "xray"), Seen(), images.indices("train")
    embedder.register_forward_pre_hook(seen)
    run = LocalRun(tmp_path / "run")
    features(embedder, images, indices, tmp_path / "quick", run, batch_size=4)
    assert run.checkpoints.latest(tmp_path / "none") is None, "a few seconds of work are not"
    monkeypatch.setattr(module, "_WORTH_S", 0.0)
    whole = features(embedder, images, indices, tmp_path / "slow", run, batch_size=4)
    seen.shapes.clear()
    again = features(embedder, images, indices, tmp_path / "again", run, batch_size=4)
    assert seen.samples == 0
    assert np.array_equal(again, whole)


@dataclass
class DiesAt(LocalRun):
    """A run that is killed when so many samples are done."""

    samples: int = 0

    def progress(self, done: int, total: int, message: str = "") -> None:
        if done >= self.samples:
            raise Killed


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, encoder: Path, images: ShardReader,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    embedder, indices, seen = embedder_of(encoder, "xray"), images.indices("train"), Seen()
    whole = features(embedder, images, indices, tmp_path / "whole", LocalRun(tmp_path / "a"), batch_size=1)
    embedder.register_forward_pre_hook(seen)
    monkeypatch.setattr(module, "_CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        features(embedder, images, indices, tmp_path / "work", DiesAt(tmp_path / "b", samples=20), batch_size=1)
    resumed = features(embedder, images, indices, tmp_path / "work", LocalRun(tmp_path / "b"), batch_size=1)
    assert np.array_equal(resumed, whole)
    # a fifth of the work is done again, at most
    assert 23 <= seen.samples <= 23 + 4


def test_checkpoints_write_six_times_the_features_at_most(tmp_path: Path, encoder: Path, images: ShardReader,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    written: list[int] = []

    def save(self: LocalCheckpoints, step: int, directory: Path) -> None:
        written.append(step)
        assert (directory / "features.f32").stat().st_size == step * 48 * 4

    monkeypatch.setattr(module, "_CHECKPOINT_S", 0.0)
    monkeypatch.setattr(module, "_WORTH_S", 0.0)
    monkeypatch.setattr(LocalCheckpoints, "save", save)
    embedder = embedder_of(encoder, "xray")
    features(embedder, images, np.arange(len(images)), tmp_path / "work", LocalRun(tmp_path / "run"), batch_size=1)
    assert written[-1] == len(images)
    assert sum(written) <= 6 * len(images)
    written.clear()
    monkeypatch.setattr(module, "_CHECKPOINT_S", 600.0)
    features(embedder, images, np.arange(len(images)), tmp_path / "work", LocalRun(tmp_path / "run"), batch_size=1)
    assert written == [len(images)], "no checkpoint within ten minutes but the last"


def test_features_of_other_work_are_not_taken(tmp_path: Path, encoder: Path, images: ShardReader) -> None:
    indices, run = images.indices("train"), LocalRun(tmp_path / "run")
    with pytest.raises(Stopped):
        features(embedder_of(encoder, "xray"), images, indices, tmp_path / "a", StopsAfter(run.root, steps=3),
                 batch_size=4, identity="one")  # fmt: skip
    embedder, seen = embedder_of(encoder, "xray"), Seen()
    embedder.register_forward_pre_hook(seen)
    features(embedder, images, indices, tmp_path / "b", run, batch_size=4, identity="other")
    assert seen.samples == 23
    assert "info: the features kept are of other data or another encoder; computing them anew" in run.lines


def test_identity_names_encoder_samples_and_batches(tmp_path: Path, encoder: Path, images: ShardReader) -> None:
    other = write_model(tmp_path / "other", "encoder", ["xray", "report"], seed=1)
    more = xrays(tmp_path / "more", 5)
    found = [identity(m, d, n) for m, d, n in [(encoder, images.root, 4), (other, images.root, 4), (encoder, more, 4),
                                               (encoder, images.root, 5), (encoder, images.root, 4)]]  # fmt: skip
    assert len(set(found)) == 4
    assert found[0] == found[-1]


def test_a_feature_that_is_not_finite_names_its_sample(tmp_path: Path, encoder: Path, images: ShardReader) -> None:
    embedder = embedder_of(encoder, "xray")
    with torch.no_grad():
        embedder.encoder.class_token.fill_(float("nan"))
    with pytest.raises(BadInput, match=r"^model: the feature of sample 0 is not finite; expected an encoder"):
        features(embedder, images, images.indices("train"), tmp_path / "work", LocalRun(tmp_path / "run"), batch_size=4)


def test_reports_need_a_vocabulary(tmp_path: Path, encoder: Path, texts: ShardReader) -> None:
    with pytest.raises(BadInput, match="no vocabulary"):
        features(embedder_of(encoder, "report"), texts, texts.indices("train"), tmp_path / "work",
                 LocalRun(tmp_path / "run"), batch_size=4)  # fmt: skip
    assert json.loads((encoder / "config.json").read_text())["modalities"] == ["xray", "report"]


def test_identity_sees_other_pixels_under_the_same_names(tmp_path: Path, encoder: Path, images: ShardReader) -> None:
    copy = Path(shutil.copytree(images.root, tmp_path / "copy"))
    assert identity(encoder, copy, 4) == identity(encoder, images.root, 4), "wherever it lies"
    pixels = bytearray((copy / "images.b2nd").read_bytes())
    pixels[len(pixels) // 2] ^= 1
    (copy / "images.b2nd").write_bytes(pixels)
    assert identity(encoder, copy, 4) != identity(encoder, images.root, 4)
