"""Small checkpoints in the published formats, by names and shapes as they were published."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medcoss.models.published import import_checkpoint
from medcoss.run import BadInput, LocalRun
from medcoss.specs.records import ModelInfo

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, Tensor]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "lungs", "are", "clear", "no", "##s", "heart"]
SCALES = ("img_cls", "video_cls", "text_mlm", "text_caption", "caption", "mlm", "retrieve", "tqa_mlm", "tqa_caption",
          "tqa_retrieve", "downstream")  # fmt: skip


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, dim: int) -> Shapes:
    return {f"{name}.weight": (dim,), f"{name}.bias": (dim,)}


def _shared(dim: int, depth: int, words: int) -> Shapes:
    """What MedCoSS has in common with Uni-Perceiver."""
    shapes: Shapes = {}
    for i in range(depth):
        block = f"fused_encoder.layers.{i}"
        shapes |= {f"{block}.gamma_1": (dim,), f"{block}.gamma_2": (dim,)}
        shapes |= {f"{block}.self_attn.in_proj_weight": (3 * dim, dim), f"{block}.self_attn.in_proj_bias": (3 * dim,)}
        shapes |= _linear(f"{block}.self_attn.out_proj", dim, dim)
        shapes |= _linear(f"{block}.linear1", 4 * dim, dim) | _linear(f"{block}.linear2", dim, 4 * dim)
        shapes |= _norm(f"{block}.norm1", dim) | _norm(f"{block}.norm2", dim)
    shapes |= {"token_embed.embeddings.weight": (words, dim)} | _norm("token_embed.embeddings_norm", dim)
    shapes |= {"token_embed.embeddings_pos.position_embeddings.weight": (512, dim)}
    shapes |= {"token_embed.embeddings_token_type.weight": (2, dim)} | _norm("video_embed.embeddings_norm", dim)
    shapes |= {"video_embed.embeddings.weight": (dim, 3, 16, 16), "video_embed.embeddings.bias": (dim,)}
    return shapes | {"video_embed.embeddings_type.weight": (1, dim)}


def encoder_shapes(dim: int = 64, depth: int = 2, words: int = 20) -> Shapes:
    """The part of a MedCoSS checkpoint that passes on to the next stage."""
    shapes = {"cls_token": (1, 1, dim), **_shared(dim, depth, words)}
    shapes["video_embed.embeddings_pos.position_embeddings.weight"] = (1600, dim)
    for kind, rows in (("2D", 1024), ("3D", 4096)):
        shapes[f"video_embed.embeddings_st_pos_{kind}.spatial_pos_embed.weight"] = (rows, dim)
        shapes[f"video_embed.embeddings_st_pos_{kind}.temporal_pos_embed.weight"] = (8, dim)
    shapes["video_embed.embeddings_3D.weight"] = (dim, 1, 16, 16, 16)
    return shapes | {"video_embed.embeddings_3D.bias": (dim,)}


def medcoss_shapes(dim: int = 64, depth: int = 2, words: int = 20, decoder: tuple[int, int] = (32, 1),
                   tokens: tuple[int, int] = (4, 4)) -> Shapes:  # fmt: skip
    """A whole MedCoSS checkpoint; `decoder` is width and depth, `tokens` the patches of an image and of a volume."""
    wide, blocks = decoder
    shapes = encoder_shapes(dim, depth, words) | {"mask_token": (1, 1, wide)} | _linear("decoder_embed", wide, dim)
    for i in range(blocks):
        block = f"decoder_blocks.{i}"
        shapes |= _norm(f"{block}.norm1", wide) | _norm(f"{block}.norm2", wide)
        shapes |= _linear(f"{block}.attn.qkv", 3 * wide, wide) | _linear(f"{block}.attn.proj", wide, wide)
        shapes |= _linear(f"{block}.mlp.fc1", 4 * wide, wide) | _linear(f"{block}.mlp.fc2", wide, 4 * wide)
    shapes |= _norm("decoder_norm", wide) | {"decoder_pos_embed_1D.weight": (2, dim)}
    for kind, count, pixels in (("2D", tokens[0], 768), ("3D", tokens[1], 4096)):
        shapes |= {f"decoder_pos_embed_{kind}": (1, count + 1, wide)}
        shapes |= _linear(f"decoder_pred_{kind}", pixels, wide)
    shapes |= _linear("mlm_head.transform.dense", dim, dim) | _norm("mlm_head.transform.LayerNorm", dim)
    return shapes | {"mlm_head.decoder.weight": (words, dim), "mlm_head.bias": (words,)}


def uniperceiver_shapes(dim: int = 64, depth: int = 2, words: int = 20) -> Shapes:
    """A Uni-Perceiver checkpoint: one video embedding, and the head under `loss_prepare`."""
    shapes = _shared(dim, depth, words)
    shapes["video_embed.embeddings_st_pos.spatial_pos_embed.weight"] = (196, dim)
    shapes["video_embed.embeddings_st_pos.temporal_pos_embed.weight"] = (8, dim)
    shapes |= {f"loss_prepare.logit_scale_{name}": () for name in SCALES}
    return shapes | _norm("loss_prepare.ln_post", dim) | _linear("loss_prepare.proj", dim, dim)


def filled(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Values by name, as small as trained ones."""
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.05 * torch.randn(shape, generator=generator) + (name.endswith("norm1.weight") or "gamma" in name)
            for name, shape in shapes.items()}  # fmt: skip


def saved(path: Path, tensors: dict[str, Tensor], **more: Any) -> Path:
    """A file as the published training writes it, the arguments of the run among its contents."""
    rest = {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 3e-4, "params": [0]}]},
        "epoch": 299, "scaler": {"scale": 65536.0}, "args": argparse.Namespace(model="unified_vit", lr=3e-4),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": tensors} | rest | more, path)
    return path


def vocabulary(path: Path) -> Path:
    """A vocabulary with fewer words than the text embedding has rows."""
    path.write_text("\n".join(WORDS) + "\n")
    return path


def imported(path: Path, **options: Any) -> tuple[Path, ModelInfo, LocalRun]:
    """Import a file into the folder `model` beside it."""
    folder = path.parent / "model"
    run = LocalRun(path.parent / "run")
    return folder, import_checkpoint(path, folder, run, **options), run


def refusal(path: Path, **options: Any) -> str:
    """What an import that is refused says."""
    with pytest.raises(BadInput) as caught:
        imported(path, **options)
    assert not (path.parent / "model").exists(), "nothing is written"
    return str(caught.value)


def equal(a: Tensors, b: Tensors) -> bool:
    """True for the same names with the same values."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
