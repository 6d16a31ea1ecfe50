"""What a frozen encoder knows: probes that do not change it and give the same figures each time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medcoss.data.shards import ShardReader
from medcoss.data.tokenizer import Tokenizer
from medcoss.evaluation.probes import fit_head, frozen_features, linear_probe, pretext_head, pretext_loss
from medcoss.models.pretext import MaskedImageDecoder
from medcoss.models.registry import load_encoder
from medcoss.run import BadInput, LocalRun
from medcoss.specs.encoder import SIZES
from medcoss.specs.training import PretrainOptions
from medcoss.training.pretrain import pretrain
from tests.medcoss.export.small_models import CONFIG, write_model
from tests.medcoss.training.small import reports, volumes, xrays


class Nothing(MaskedImageDecoder):
    """Predicts the mean of every patch."""

    def forward(self, *inputs: Tensor, **more: Tensor) -> Tensor:  # type: ignore[override]
        return torch.zeros_like(super().forward(*inputs, **more))


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset and the model of a short stage on it, for reports, images and volumes."""
    root = tmp_path_factory.mktemp("stages")
    found = {"report": reports(root / "report"), "xray": xrays(root / "xray", 30), "mr": volumes(root / "mr")}
    options = PretrainOptions(size="tiny", epochs=4, batch_size=8, base_lr=0.1, vocabulary_size=256, reconstructions=0)
    original, SIZES["tiny"] = SIZES["tiny"], CONFIG
    for name, data in list(found.items()):
        run = LocalRun(root / "run" / name)
        found[f"{name} model"] = run.root / "model"
        pretrain(options, data, None, [], found[f"{name} model"], run)
    SIZES["tiny"] = original
    return found


def words(model: Path) -> Tokenizer | None:
    return Tokenizer(model / "vocab.txt") if (model / "vocab.txt").is_file() else None


def test_a_linear_probe_finds_classes_whatever_the_scale_of_the_features() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    values = rng.normal(size=(120, 10)) + 3 * np.eye(3, 10)[labels]
    scaled = values * 10.0 ** rng.uniform(-6, 6, 10) + 1e3
    found = linear_probe(scaled[:60], labels[:60], scaled[60:], labels[60:])
    assert found["accuracy"] > 0.9
    assert found == linear_probe(scaled[:60], labels[:60], scaled[60:], labels[60:])
    shuffled = linear_probe(rng.normal(size=(60, 10)), labels[:60], scaled[60:], labels[60:])
    assert shuffled["balanced_accuracy"] < 0.6


def test_rare_classes_count_as_much_as_common_ones() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [180, 20])
    values = rng.normal(size=(200, 4)) + labels[:, None]
    found = linear_probe(values[::2], labels[::2], values[1::2], labels[1::2])
    assert found["balanced_accuracy"] > 0.7


def test_a_linear_probe_needs_some_samples_of_each_class() -> None:
    labels = np.array([0] * 20 + [1] * 4)
    with pytest.raises(BadInput, match="dataset: a class has 4 training samples; a linear probe needs at least 5"):
        linear_probe(np.zeros((24, 2)), labels, np.zeros((24, 2)), labels)


@pytest.mark.parametrize("name", ["report", "xray", "mr"])
def test_the_head_of_a_stage_reads_its_own_encoder(stages: dict[str, Path], name: str) -> None:
    reader, model = ShardReader(stages[name]), stages[f"{name} model"]
    encoder, _ = load_encoder(model)
    head, indices = pretext_head(model), reader.indices()
    losses = [
        pretext_loss(encoder, head, reader, order, tokenizer=words(model), repeats=2, batch_size=size)
        for order, size in ((indices, 64), (indices[::-1], 3))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    other = pretext_loss(encoder, head, reader, indices, tokenizer=words(model), repeats=2, seed=1)
    assert other != losses[0]
    torch.manual_seed(9)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert pretext_loss(encoder, head, reader, indices, tokenizer=words(model)) > losses[0]


def test_an_error_of_one_is_that_of_predicting_the_mean_of_each_patch(stages: dict[str, Path]) -> None:
    reader, (encoder, _) = ShardReader(stages["xray"]), load_encoder(stages["xray model"])
    nothing = Nothing(encoder.config, {"2d": (6, 768)})
    # the deviation of a patch is the unbiased one
    assert pretext_loss(encoder, nothing, reader, reader.indices()) == pytest.approx(767 / 768, abs=1e-4)


@pytest.mark.parametrize("name", ["report", "xray", "mr"])
def test_a_fresh_head_learns_from_a_frozen_encoder(stages: dict[str, Path], name: str) -> None:
    reader, model = ShardReader(stages[name]), stages[f"{name} model"]
    encoder, _ = load_encoder(model)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    losses = []
    for steps in (1, 40):
        same, head = fit_head(encoder, reader, reader.indices("train"), tokenizer=words(model), steps=steps)
        losses.append(pretext_loss(same, head, reader, reader.indices("val"), tokenizer=words(model), repeats=4))
        assert all(torch.equal(value, before[key]) for key, value in same.state_dict().items())
    assert losses[1] < losses[0]
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_what_was_never_learnt_gets_an_embedding_of_its_own(stages: dict[str, Path]) -> None:
    reader, (encoder, _) = ShardReader(stages["xray"]), load_encoder(stages["mr model"])
    probed, _ = fit_head(encoder, reader, reader.indices("train"), steps=2, learn_embedding=True)
    changed = {k.split(".")[0] for k, v in probed.state_dict().items() if not torch.equal(v, encoder.state_dict()[k])}
    assert changed == {"image_embedding"}


def test_features_are_the_mean_over_all_tokens_without_a_mask(stages: dict[str, Path]) -> None:
    reader, (encoder, _) = ShardReader(stages["xray"]), load_encoder(stages["xray model"])
    found = frozen_features(encoder, reader, reader.indices(), batch_size=7)
    assert found.shape == (len(reader), CONFIG.dim)
    image = torch.from_numpy(reader.image(8))[None]
    assert np.allclose(found[8], encoder.encode_image(image)[0].mean(dim=0).detach(), atol=1e-5)


def test_a_model_without_pretext_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no pretext head for 'xray' \(pretext.decoder.\*\)"):
        pretext_head(write_model(tmp_path / "model", "encoder", ["xray"]))
