"""Published checkpoints: in and out bit for bit, what does not fit is named."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medcoss.models.encoder import Encoder
from medcoss.models.published import export_checkpoint, our_name, published_name, read_checkpoint
from medcoss.models.registry import load_encoder
from medcoss.run import BadInput
from medcoss.specs.encoder import EncoderConfig
from tests.medcoss.export.small_models import write_model
from tests.medcoss.models.checkpoints import (
    Tensors,
    encoder_shapes,
    equal,
    filled,
    imported,
    medcoss_shapes,
    refusal,
    saved,
    uniperceiver_shapes,
    vocabulary,
)


@pytest.fixture
def fill(parity: Path) -> Iterator[ModuleType]:
    sys.path.insert(0, str(parity))
    import fill

    yield fill
    sys.path.remove(str(parity))


@pytest.fixture(scope="module")
def whole() -> Tensors:
    return filled(medcoss_shapes())


# names and shapes


def test_the_names_are_the_published_ones(parity: Path) -> None:
    keys = json.loads((parity / "state_dict_keys.json").read_text())
    shapes = medcoss_shapes(768, 12, 49_411, (512, 8), (196, 144))
    assert {n: list(s) for n, s in shapes.items()} == keys["pretraining_model"]
    assert {n: list(s) for n, s in encoder_shapes(768, 12, 49_411).items()} == keys["teacher_model"]
    known = keys["pretraining_model"].keys() - set(keys["never_used_in_any_forward"])
    assert {published_name(our_name(name)) for name in known} == known
    assert published_name("encoder.blocks.11.attn.qkv.weight") == "fused_encoder.layers.11.self_attn.in_proj_weight"
    for name in ("encoder", "encoder.blocks.0.q.weight", "decoder.pixels.4d.bias", "blocks.0.norm1.bias"):
        with pytest.raises(KeyError):
            published_name(name)


def test_a_checkpoint_of_full_size_comes_back_bit_for_bit(parity: Path, tmp_path: Path, fill: ModuleType) -> None:
    keys = json.loads((parity / "state_dict_keys.json").read_text())["pretraining_model"]
    manifest = json.loads((parity / "manifest.json").read_text())
    file = saved(tmp_path / "medcoss.pth", fill.fill_state_dict(keys, manifest["weights"]["student_seed"]))
    folder, info, _ = imported(file)
    assert (info.size, info.metrics["tensors_taken"]) == ("base", 298)
    assert (info.config["positions"], info.config["attention"]) == ("flat", "published")
    export_checkpoint(folder, tmp_path / "back.pth")
    assert equal(read_checkpoint(file), read_checkpoint(tmp_path / "back.pth"))
    encoder, _ = load_encoder(folder)
    given = manifest["inputs"]["2d"]
    images = fill.make_input("2d", given["seed"], batch=given["batch"], size=given["size"])
    with torch.inference_mode():
        features = encoder.encode_image(torch.from_numpy(images)).numpy()
    error = fill.compare("features_2d", features, np.load(parity / "encoder.npz"))
    assert error["rel"] < 5e-5, "its numbers are the published ones"


# MedCoSS


def test_sizes_are_read_from_the_shapes(tmp_path: Path) -> None:
    shapes = medcoss_shapes(128, 3, 31, (64, 2), (6, 9))
    folder, info, run = imported(saved(tmp_path / "a.pth", filled(shapes)))
    config = EncoderConfig(**info.config)
    assert (config.dim, config.depth, config.heads, config.vocabulary) == (128, 3, 2, 31)
    assert (config.decoder_dim, config.decoder_depth, config.decoder_heads) == (64, 2, 2)
    assert info.size == "custom"
    stored = load_file(folder / "model.safetensors")
    assert stored["pretext.decoder.positions.3d"].shape == (1, 10, 64)
    assert stored["published.video_embed.embeddings_pos.position_embeddings.weight"].shape == (1600, 128)
    assert run.lines[0] == "info: a.pth is a medcoss checkpoint, size custom: 3 blocks of 128, 2 heads, 31 word pieces"


def test_an_imported_model_says_what_it_knows(tmp_path: Path, whole: Tensors) -> None:
    file = saved(tmp_path / "a.pth", whole)
    _, info, run = imported(file, vocabulary=vocabulary(tmp_path / "words.txt"))
    assert info.modalities == ["report", "xray", "ct", "mr", "pathology"]
    assert (info.stage, info.modality, info.kind, info.sample_shape) == (5, "pathology", "image2d", [3, 224, 224])
    assert info.recipes["mr"]["size"] == [16, 192, 192]
    assert info.recipe == info.recipes["pathology"]
    assert (tmp_path / "model" / "vocab.txt").read_text() == (tmp_path / "words.txt").read_text()
    record = json.loads((run.root / "artifacts" / "import.json").read_text())
    assert set(record["taken"]) | set(record["not_used"]) == whole.keys()
    assert (record["format"], len(record["not_used"]), record["initialised"]) == ("medcoss", 2, [])
    _, info, _ = imported(file, modalities=["xray", "mr"], positions="grid", attention="bidirectional")
    assert (info.modalities, info.stage, info.kind, info.sample_shape) == (
        ["xray", "mr"], 2, "volume3d", [1, 16, 192, 192],
    )  # fmt: skip
    assert (info.config["positions"], info.config["attention"]) == ("grid", "bidirectional")


def test_reports_need_a_vocabulary_to_be_served(tmp_path: Path, whole: Tensors) -> None:
    folder, info, _ = imported(saved(tmp_path / "a.pth", whole))
    assert "report" in info.modalities and "report" not in info.recipes
    assert not (folder / "vocab.txt").exists()


def test_a_vocabulary_may_not_have_more_words_than_there_are_rows(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.pth", filled(medcoss_shapes(words=10)))
    assert refusal(file, vocabulary=vocabulary(tmp_path / "words.txt")) == (
        "words.txt: it has 12 tokens, the checkpoint embeds 10; give the vocabulary that it was trained with"
    )


def test_the_encoder_alone_comes_back_as_such(tmp_path: Path) -> None:
    tensors = filled(encoder_shapes())
    folder, _, run = imported(saved(tmp_path / "a.pth", tensors))
    assert not [name for name in load_file(folder / "model.safetensors") if name.startswith("pretext.")]
    assert "info: without pretext heads: a next stage starts them anew" in run.lines
    lines = export_checkpoint(folder, tmp_path / "back.pth")
    assert lines[1] == (
        "without pretext heads: the model has none of images and volumes and reports, a checkpoint has all"
    )
    assert equal(read_checkpoint(tmp_path / "back.pth"), tensors)


# what does not fit


def changed(tensors: Tensors, without: tuple[str, ...] = (), **more: Tensor) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name not in without} | more


def test_every_missing_surplus_or_misshapen_tensor_is_named(tmp_path: Path, whole: Tensors) -> None:
    wrong = changed(whole, ("mlm_head.bias", "fused_encoder.layers.1.norm2.weight"), cls_token=torch.zeros(1, 1, 65))
    wrong["head.weight"] = torch.zeros(5, 64)
    assert refusal(saved(tmp_path / "a.pth", wrong)) == (
        "a.pth: 4 tensors do not fit: cls_token: expected (1, 1, 64), found (1, 1, 65); "
        "fused_encoder.layers.1.norm2.weight: expected (64,), not found; "
        "mlm_head.bias: expected (20,), not found; head.weight: not expected, found (5, 64)"
    )


def test_any_one_missing_tensor_is_named(tmp_path: Path, whole: Tensors) -> None:
    for name in whole:
        shape = tuple(whole[name].shape)
        if name.startswith("decoder_pos_embed_"):
            # the number of patches stands in no other tensor
            shape = {"decoder_pos_embed_2D": (1, 197, 32), "decoder_pos_embed_3D": (1, 145, 32)}.get(name, shape)
        message = refusal(saved(tmp_path / "a.pth", changed(whole, (name,))))
        assert message == f"a.pth: 1 tensor does not fit: {name}: expected {shape}, not found"


def test_the_first_ten_differences_are_shown(tmp_path: Path, whole: Tensors) -> None:
    more = {f"extra.{i}": torch.zeros(2) for i in range(14)}
    message = refusal(saved(tmp_path / "a.pth", whole | more))
    assert message.startswith("a.pth: 14 tensors do not fit: extra.0: not expected, found (2,); extra.1")
    assert message.endswith("extra.9: not expected, found (2,); and 4 more")


def test_other_models_are_refused(tmp_path: Path) -> None:
    other = {"conv1.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(2)}
    message = refusal(saved(tmp_path / "a.pth", other))
    assert message.startswith("a.pth: these are no tensors of a MedCoSS or Uni-Perceiver checkpoint: conv1.weight, fc")
    assert "do not fit: cls_token: expected (1, 1, 768), not found" in refusal(tmp_path / "a.pth", format="medcoss")


def test_widths_that_no_heads_fit_are_refused(tmp_path: Path) -> None:
    message = refusal(saved(tmp_path / "a.pth", filled(medcoss_shapes(dim=72))))
    assert message == (
        "a.pth: the encoder is 72 wide and the decoder 32; expected multiples of 64 and 32, the widths of an attention "
        "head"
    )


def test_values_that_are_no_numbers_are_refused(tmp_path: Path, whole: Tensors) -> None:
    broken = dict(whole, cls_token=torch.full((1, 1, 64), float("nan")))
    assert refusal(saved(tmp_path / "a.pth", broken)) == (
        "a.pth: 1 tensor holds values that are no finite numbers: cls_token; take an earlier checkpoint"
    )
    broken |= {"mask_token": torch.zeros(1, 1, 32).long()}
    assert refusal(saved(tmp_path / "a.pth", broken)) == (
        "a.pth: 1 tensor holds another type of number than floating point: mask_token (int64); write the weights as "
        "float32"
    )


def test_what_is_not_there_and_what_is_not_known_is_named(tmp_path: Path, whole: Tensors) -> None:
    assert refusal(tmp_path / "none.pth").startswith(
        f"none.pth: there is no file {tmp_path}/none.pth; expected a check"
    )
    assert ": this is a folder; expected a checkpoint, one file of .pth, .pt, .bin, .safetensors" in refusal(tmp_path)
    file = saved(tmp_path / "a.pth", whole)
    assert refusal(file, vocabulary=tmp_path / "v.txt").startswith("vocabulary: there is no file ")
    assert refusal(file, modalities=["xray", "ultrasound"]) == (
        "modalities: unknown modality 'ultrasound'; expected some of report, xray, ct, mr, pathology"
    )
    assert refusal(file, modalities=["xray", "xray"]) == "modalities: expected every modality once, found xray, xray"


# Uni-Perceiver


def test_what_uniperceiver_has_is_taken_and_the_rest_is_seeded(tmp_path: Path) -> None:
    tensors = filled(uniperceiver_shapes(), seed=3)
    file = tmp_path / "uni-perceiver-base.pth"
    torch.save({"model": tensors}, file)
    folder, info, run = imported(file, seed=5)
    assert (info.modalities, info.stage, info.recipes) == ([], 0, {})
    assert (info.config["positions"], info.config["attention"]) == ("grid", "bidirectional")
    record = json.loads((run.root / "artifacts" / "import.json").read_text())
    assert record["initialised"] == [
        "cls_token",
        "video_embed.embeddings_st_pos_2D.spatial_pos_embed.weight, rows 196 and on",
        "video_embed.embeddings_3D.weight",
        "video_embed.embeddings_3D.bias",
        "video_embed.embeddings_st_pos_3D.spatial_pos_embed.weight",
        "video_embed.embeddings_st_pos_3D.temporal_pos_embed.weight",
    ]
    assert set(record["taken"]) | set(record["not_used"]) == tensors.keys()
    assert all(n.startswith(("loss_prepare.", "video_embed.embeddings_type.")) for n in record["not_used"])
    assert len(record["not_used"]) == 16
    encoder, _ = load_encoder(folder)
    blocks = encoder.blocks[1]
    assert torch.equal(blocks.attn.qkv.weight, tensors["fused_encoder.layers.1.self_attn.in_proj_weight"])
    assert torch.equal(blocks.ls2.gamma, tensors["fused_encoder.layers.1.gamma_2"])
    table = tensors["video_embed.embeddings_st_pos.spatial_pos_embed.weight"]
    assert torch.equal(encoder.image_embedding.spatial.weight[:196], table)
    torch.manual_seed(5)
    fresh = Encoder(encoder.config)
    assert torch.equal(encoder.image_embedding.spatial.weight[196:], fresh.image_embedding.spatial.weight[196:])
    assert torch.equal(encoder.volume_embedding.projection.weight, fresh.volume_embedding.projection.weight)
    assert torch.equal(encoder.class_token, fresh.class_token)


def test_strangers_in_a_uniperceiver_checkpoint_are_named(tmp_path: Path) -> None:
    tensors = changed(filled(uniperceiver_shapes()), ("token_embed.embeddings_norm.bias",))
    tensors["fused_encoder.layers.0.gate.wg.weight"] = torch.zeros(8, 64)
    table = "video_embed.embeddings_st_pos.spatial_pos_embed.weight"
    tensors[table] = torch.zeros(576, 64)
    assert refusal(saved(tmp_path / "a.pth", tensors)) == (
        f"a.pth: 3 tensors do not fit: {table}: expected (196, 64), found (576, 64); "
        "token_embed.embeddings_norm.bias: expected (64,), not found; "
        "fused_encoder.layers.0.gate.wg.weight: not expected, found (8, 64)"
    )


# models of our own


def test_a_model_of_our_own_goes_out_under_published_names(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own", "encoder", ["xray", "report"])
    with pytest.raises(BadInput, match="the encoder is 48 wide"):
        export_checkpoint(folder, tmp_path / "a.pth")
    assert not list(tmp_path.glob("*a.pth*"))


def test_an_encoder_comes_back_as_it_was(tmp_path: Path, whole: Tensors) -> None:
    ours = {"positions": "grid", "attention": "bidirectional", "modalities": ["xray", "mr"]}
    folder, _, _ = imported(saved(tmp_path / "a.pth", whole), vocabulary=vocabulary(tmp_path / "words.txt"), **ours)
    lines = export_checkpoint(folder, tmp_path / "back.pth")
    assert lines[-1] == (
        "an import makes the same encoder of it, as the file says --attention bidirectional --positions grid "
        "--modality xray --modality mr; add --vocabulary with the model's vocab.txt"
    )
    _, info, run = imported(tmp_path / "back.pth")
    assert {name: info.config[name] for name in ("positions", "attention")} | {"modalities": info.modalities} == ours
    assert "info: read with attention bidirectional, positions grid, as one that has learnt xray, mr" in run.lines
    # what is asked for counts more than what the file says
    _, info, _ = imported(tmp_path / "back.pth", positions="flat", attention="published", modalities=["ct"])
    assert (info.config["positions"], info.config["attention"], info.modalities) == ("flat", "published", ["ct"])


def test_settings_of_another_hand_are_refused(tmp_path: Path, whole: Tensors) -> None:
    message = refusal(saved(tmp_path / "a.pth", whole, medcoss={"positions": "round"}))
    assert message == (
        "a.pth: 'medcoss' in the file is not what export-checkpoint writes (positions: Input should be 'grid' or "
        "'flat'); export it again"
    )
    assert "not what export-checkpoint writes" in refusal(saved(tmp_path / "a.pth", whole, medcoss=[1]))


def test_a_checkpoint_is_written_to_a_file_in_a_folder_that_is_there(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own", "encoder", ["xray"])
    with pytest.raises(BadInput, match=r"this is a folder; expected the file to write, e\.g\. .*/encoder\.pth"):
        export_checkpoint(folder, tmp_path)
    with pytest.raises(BadInput, match=r"there is no folder .*/none; make it first"):
        export_checkpoint(folder, tmp_path / "none" / "a.pth")


def test_what_our_own_models_lack_is_said(tmp_path: Path, whole: Tensors) -> None:
    folder, info, _ = imported(saved(tmp_path / "a.pth", whole))
    stored = load_file(folder / "model.safetensors")
    trained = {
        n: t for n, t in stored.items() if not n.startswith(("published.", "pretext.language", "text_embedding"))
    }
    save_file(trained, folder / "model.safetensors")
    config = info.config | {"vocabulary": 0}
    (folder / "config.json").write_text(info.model_copy(update={"config": config}).model_dump_json())
    lines = export_checkpoint(folder, tmp_path / "b.pth")
    assert lines[:2] == [
        f"{len(encoder_shapes())} tensors, size custom: 2 blocks of 64, 1 heads, 49,411 word pieces",
        "without pretext heads: the model has none of reports, a checkpoint has all",
    ]
    zeros = lines[2].removeprefix("zeros, as the model does not have them: ").split(", ")
    assert len(zeros) == 7
    assert set(zeros) > {"video_embed.embeddings_type.weight", "token_embed.embeddings.weight"}
    written = read_checkpoint(tmp_path / "b.pth")
    assert not any(written[name].any() for name in zeros)
    assert torch.equal(written["cls_token"], whole["cls_token"])
    del trained["class_token"]
    save_file(trained, folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"1 tensor does not fit: cls_token: expected \(1, 1, 64\), not found"):
        export_checkpoint(folder, tmp_path / "c.pth")


def test_only_encoders_go_out(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "own", "classification", ["xray"], ["a", "b"])
    with pytest.raises(BadInput, match="this model is a classification model; expected an encoder"):
        export_checkpoint(folder, tmp_path / "a.pth")
