"""The encoder that all modalities share (MedCoSS, Ye et al., CVPR 2024)."""

import copy
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from medcoss.modalities import Kind
from medcoss.models.embeddings import PatchEmbedding, TextEmbedding
from medcoss.specs.encoder import EncoderConfig

_BLOCKED = -10000.0


class Encoder(nn.Module):
    """Pre-norm transformer with LayerScale and DropPath over text, image and volume tokens.

    There is no normalisation after the last block.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.dim
        self.image_embedding = _patch_embedding(2, config)
        self.volume_embedding = _patch_embedding(3, config)
        self.own_embeddings = nn.ModuleDict({name: _patch_embedding(axes, config) for name, axes in config.own.items()})
        self.image_norm = nn.LayerNorm(dim, eps=1e-5)
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.text_embedding = TextEmbedding(config.vocabulary, dim) if config.vocabulary else None
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.heads,
                qkv_bias=True,
                init_values=config.layer_scale,
                # made with a rate, so that set_drop_path finds the modules
                drop_path=0.1,
                norm_layer=partial(nn.LayerNorm, eps=1e-5),
            )
            for _ in range(config.depth)
        )
        self.set_drop_path(0.0)
        self.apply(_initialise)
        nn.init.normal_(self.class_token, std=0.02)

    def set_drop_path(self, rate: float) -> None:
        """Use the same drop path rate in every block."""
        for block in self.blocks:
            block.drop_path1.drop_prob = rate
            block.drop_path2.drop_prob = rate

    def channels_of(self, kind: Kind, stored: int) -> int:
        """Channels that an input has whose samples are stored with `stored` ones: grey images are repeated."""
        return 3 if kind is Kind.IMAGE2D and stored == 1 else stored

    def gain_embedding(self, modality: str, kind: Kind) -> None:
        """Give a modality a patch embedding of its own, a copy of the one of its kind; one that it has stays."""
        if modality in self.own_embeddings:
            return
        axes = 2 if kind is Kind.IMAGE2D else 3
        self.own_embeddings[modality] = copy.deepcopy(self.image_embedding if axes == 2 else self.volume_embedding)
        self.config = self.config.with_own(modality, axes)

    def embed_image(self, x: Tensor, kept: Tensor | None = None, modality: str | None = None) -> Tensor:
        """Normalised tokens (B, L, d) of images (B, 3, H, W) or volumes (B, 1, D, H, W), without the class token.

        `kept` (B, k) chooses and orders the patches; only these are computed. `modality` matters where it has an
        embedding of its own.
        """
        embedding = self.image_embedding if x.ndim == 4 else self.volume_embedding
        if modality is not None and modality in self.own_embeddings:
            embedding = self.own_embeddings[modality]
        return self.image_norm(embedding(x, kept))

    def run_blocks(self, tokens: Tensor, mask: Tensor | None = None) -> list[Tensor]:
        """Outputs (B, L, d) of every block."""
        outputs = []
        for block in self.blocks:
            tokens = block(tokens, attn_mask=mask)
            outputs.append(tokens)
        return outputs

    def encode_image(self, x: Tensor, kept: Tensor | None = None, modality: str | None = None) -> Tensor:
        """Class token and (kept) patch tokens, (B, 1 + L, d); `kept` (B, k) chooses and orders the patches."""
        tokens = self.embed_image(x, kept, modality)
        return self.run_blocks(torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1))[-1]

    def encode_text(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Tokens (B, L, d) of reports; `attention` (B, L) is 1 at real tokens."""
        if self.text_embedding is None:
            raise ValueError("this encoder has learnt no reports; pre-train a stage on reports first")
        return self.run_blocks(self.text_embedding(ids), self._text_mask(attention))[-1]

    def _text_mask(self, attention: Tensor) -> Tensor:
        """What is added to the attention logits, (B, 1 or heads, L, L)."""
        length = attention.shape[1]
        mask = (1.0 - attention[:, None, None, :].to(self.class_token.dtype)) * _BLOCKED
        if self.config.attention == "bidirectional":
            return mask.expand(-1, 1, length, -1)
        causal = torch.full((length, length), _BLOCKED, dtype=mask.dtype, device=mask.device).triu(1)
        mask = torch.minimum(mask, causal)
        if self.config.attention == "published_batched":
            # sample b, head h reads the mask of sample (heads b + h) mod B
            heads, batch = self.config.heads, len(mask)
            owners = torch.arange(batch * heads, device=mask.device).remainder(batch)
            mask = mask[:, 0][owners].unflatten(0, (batch, heads))
        return mask


def pooled_image(encoder: Encoder, x: Tensor, modality: str | None = None) -> Tensor:
    """Feature of an image or volume, (B, d): the mean over all tokens, class token included."""
    return encoder.encode_image(x, modality=modality).mean(dim=1)


def pooled_text(encoder: Encoder, ids: Tensor, attention: Tensor) -> Tensor:
    """Feature of a report, (B, d): the mean over its real tokens, over all where padding counts (published)."""
    if encoder.config.counts_padding:
        return encoder.encode_text(ids, attention).mean(dim=1)
    weights = attention.unsqueeze(-1).to(encoder.class_token.dtype)
    return (encoder.encode_text(ids, attention) * weights).sum(dim=1) / weights.sum(dim=1)


class Embedder(nn.Module):
    """The encoder as one function from an input of a modality to its feature (B, d), for export and buffers."""

    def __init__(self, encoder: Encoder, kind: Kind, modality: str | None = None) -> None:
        super().__init__()
        self.encoder, self.kind, self.modality = encoder, kind, modality

    @property
    def width(self) -> int:
        """Numbers of a feature."""
        return self.encoder.config.dim

    def forward(self, *inputs: Tensor) -> Tensor:
        """`(images,)` or `(ids, attention)` to features (B, d)."""
        if self.kind is Kind.TEXT:
            return pooled_text(self.encoder, *inputs)
        return pooled_image(self.encoder, *inputs, self.modality)


def _patch_embedding(axes: int, config: EncoderConfig) -> PatchEmbedding:
    return PatchEmbedding(axes, 3 if axes == 2 else 1, config.dim, config.positions)


def _initialise(module: nn.Module) -> None:
    """Xavier for linear layers, normal(0, 0.02) for tables.

    The published tables start at normal(0, 1) and are overwritten by a foreign
    checkpoint; from scratch such positions would drown the content.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
