"""Names of the tensors of published checkpoints (MedCoSS, Uni-Perceiver), and ours: one table, read both ways."""

# ours -> published; a name stands for itself and for everything below it
_MODULES = {
    "encoder.class_token": "cls_token",
    "encoder.image_norm": "video_embed.embeddings_norm",
    "encoder.image_embedding.projection": "video_embed.embeddings",
    "encoder.image_embedding.spatial": "video_embed.embeddings_st_pos_2D.spatial_pos_embed",
    "encoder.image_embedding.temporal": "video_embed.embeddings_st_pos_2D.temporal_pos_embed",
    "encoder.volume_embedding.projection": "video_embed.embeddings_3D",
    "encoder.volume_embedding.spatial": "video_embed.embeddings_st_pos_3D.spatial_pos_embed",
    "encoder.volume_embedding.temporal": "video_embed.embeddings_st_pos_3D.temporal_pos_embed",
    "encoder.text_embedding.words": "token_embed.embeddings",
    "encoder.text_embedding.positions": "token_embed.embeddings_pos.position_embeddings",
    "encoder.text_embedding.types": "token_embed.embeddings_token_type",
    "encoder.text_embedding.norm": "token_embed.embeddings_norm",
    "encoder.blocks": "fused_encoder.layers",
    "decoder.embed": "decoder_embed",
    "decoder.mask_token": "mask_token",
    "decoder.positions.2d": "decoder_pos_embed_2D",
    "decoder.positions.3d": "decoder_pos_embed_3D",
    "decoder.blocks": "decoder_blocks",
    "decoder.norm": "decoder_norm",
    "decoder.pixels.2d": "decoder_pred_2D",
    "decoder.pixels.3d": "decoder_pred_3D",
    "language.query": "decoder_pos_embed_1D.weight",
    "language.transform": "mlm_head.transform.dense",
    "language.norm": "mlm_head.transform.LayerNorm",
    "language.words": "mlm_head.decoder",
    "language.bias": "mlm_head.bias",
}
# within a block of the encoder; blocks of the decoder have the same names in both
_IN_BLOCK = {
    "norm1": "norm1",
    "attn.qkv.weight": "self_attn.in_proj_weight",
    "attn.qkv.bias": "self_attn.in_proj_bias",
    "attn.proj": "self_attn.out_proj",
    "ls1.gamma": "gamma_1",
    "norm2": "norm2",
    "mlp.fc1": "linear1",
    "mlp.fc2": "linear2",
    "ls2.gamma": "gamma_2",
}
_MODULES_BACK = {published: ours for ours, published in _MODULES.items()}
_IN_BLOCK_BACK = {published: ours for ours, published in _IN_BLOCK.items()}
_BLOCKS = {"encoder.blocks": _IN_BLOCK, "fused_encoder.layers": _IN_BLOCK_BACK}

UNUSED = {
    "video_embed.embeddings_pos.position_embeddings.weight": 1600,
    "video_embed.embeddings_type.weight": 1,
}
"""Tables of a MedCoSS checkpoint that no forward pass reads, and their rows."""


def published_name(ours: str) -> str:
    """The name in a MedCoSS checkpoint of a tensor of `PretrainingModel`, e.g. `encoder.blocks.0.norm1.bias`.

    Raises KeyError for a name that has no counterpart.
    """
    return _translate(ours, _MODULES)


def published_encoder_name(ours: str) -> str:
    """The name in a MedCoSS checkpoint of a tensor of `Encoder`, e.g. `blocks.0.norm1.bias`."""
    return published_name(f"encoder.{ours}")


def our_name(published: str) -> str:
    """The name in `PretrainingModel` of a tensor of a MedCoSS checkpoint. Raises KeyError when there is none."""
    return _translate(published, _MODULES_BACK)


def uniperceiver_name(published: str) -> str | None:
    """What Uni-Perceiver calls a tensor of a MedCoSS encoder; None for what it does not have.

    Source: fundamentalvision/Uni-Perceiver, `uniperceiver/modeling`. One video embedding reads images and frames:
    it has one pair of position tables and no 3-D convolution; the class token is a word of its vocabulary.
    """
    if published == "cls_token" or "_3D" in published:
        return None
    return published.replace("embeddings_st_pos_2D", "embeddings_st_pos")


def _translate(name: str, table: dict[str, str]) -> str:
    module, rest = _split(name, table)
    if rest and module in _BLOCKS:
        number, _, inner = rest[1:].partition(".")
        part, rest = _split(inner, _BLOCKS[module])
        rest = f".{number}.{_BLOCKS[module][part]}{rest}"
    return table[module] + rest


def _split(name: str, table: dict[str, str]) -> tuple[str, str]:
    """The module of `table` that a tensor belongs to, and what is left of its name, with the dot."""
    head = name
    while head not in table:
        if "." not in head:
            raise KeyError(name)
        head = head.rpartition(".")[0]
    return head, name[len(head) :]
