"""Model folders: what was saved is what is loaded, and what does not fit is named."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medcoss.models.encoder import Encoder
from medcoss.models.heads import Classifier, Segmenter
from medcoss.models.pretext import MaskedImageDecoder
from medcoss.models.registry import (
    build,
    encoder_for,
    load_encoder,
    load_model,
    read_info,
    save_model,
)
from medcoss.run import BadInput
from tests.medcoss.export.small_models import CONFIG, write_model

CASES = [
    ("encoder", ["xray"], None, Encoder),
    ("encoder", ["xray", "mr", "report"], None, Encoder),
    ("classification", ["xray"], ["a", "b"], Classifier),
    ("classification", ["report"], ["a", "b", "c"], Classifier),
    ("segmentation", ["mr"], ["atrium"], Segmenter),
]


@pytest.mark.parametrize(("task", "modalities", "classes", "kind"), CASES)
def test_models_round_trip(
    tmp_path: Path, task: str, modalities: list[str], classes: list[str] | None, kind: type
) -> None:
    folder = write_model(tmp_path / "a", task, modalities, classes)
    model, info = load_model(folder)
    assert isinstance(model, kind)
    assert not model.training
    save_model(model, info, tmp_path / "b", folder / "vocab.txt" if "report" in modalities else None)
    again, info_again = load_model(tmp_path / "b")
    assert info_again == info
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert (tmp_path / "b" / "vocab.txt").is_file() == ("report" in modalities)


def test_the_pretext_head_travels_along_but_is_not_needed(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a", "encoder", ["xray"])
    model, info = load_encoder(folder)
    head = MaskedImageDecoder(CONFIG, {"2d": (16, 768)})
    save_model(model, info, tmp_path / "b", pretext=torch.nn.ModuleDict({"decoder": head}))
    stored = load_file(tmp_path / "b" / "model.safetensors")
    assert torch.equal(stored["pretext.decoder.mask_token"], head.mask_token)
    again, _ = load_encoder(tmp_path / "b")
    assert torch.equal(again.class_token, model.class_token)


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a", "classification", ["xray"], ["a", "b"])
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["head.extra"] = tensors.pop("head.bias")
    tensors["head.weight"] = torch.zeros(5, 48)
    save_file(tensors, path)
    with pytest.raises(BadInput) as caught:
        load_model(folder)
    message = str(caught.value)
    assert message.startswith("model.safetensors: ")
    for part in ("head.bias", "head.extra", "head.weight (5, 48) for (2, 48)"):
        assert part in message


def test_damaged_weights_and_descriptions_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a", "encoder", ["xray"])
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(BadInput, match=r"model\.safetensors: the weights cannot be read"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"model\.safetensors"):
        load_model(folder)
    info = json.loads((folder / "config.json").read_text())
    for broken in ("{", json.dumps(info | {"task": "dream"}), json.dumps(info | {"config": {"width": 3}})):
        (folder / "config.json").write_text(broken)
        with pytest.raises(BadInput, match=r"^config\.json: this is no description of a model"):
            read_info(folder)
    with pytest.raises(BadInput, match="holds no model"):
        read_info(tmp_path / "nowhere")


def test_a_fine_tuned_model_is_no_start_for_pretraining(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a", "segmentation", ["mr"], ["a"])
    with pytest.raises(BadInput, match="segmentation model; expected an encoder"):
        load_encoder(folder)


def test_an_encoder_embeds_only_what_it_learnt(tmp_path: Path) -> None:
    module, info = load_encoder(write_model(tmp_path / "a", "encoder", ["xray", "mr"]))
    assert encoder_for(module, info, "xray")(torch.rand(2, 3, 64, 64)).shape == (2, 48)
    with pytest.raises(BadInput, match="has not learnt 'report'; it knows xray, mr"):
        encoder_for(module, info, "report")


def test_build_needs_no_weights(tmp_path: Path) -> None:
    info = read_info(write_model(tmp_path / "a", "segmentation", ["mr"], ["a", "b"]))
    assert build(info).out.out_channels == 2
