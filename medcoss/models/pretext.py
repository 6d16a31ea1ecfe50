"""Pretext tasks: masked image modelling (He et al., CVPR 2022) and masked language modelling (Devlin et al., 2019)."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from medcoss.models.embeddings import patches_at
from medcoss.models.encoder import Encoder
from medcoss.specs.encoder import PATCH, EncoderConfig

ImageKind = Literal["2d", "3d"]


def patchify(x: Tensor) -> Tensor:
    """Patch vectors (B, L, P) of images (B, C, H, W), ordered (row, column, channel), or of volumes
    (B, 1, D, H, W), ordered (slice, row, column).
    """
    batch, channels, *sizes = x.shape
    grid = [n // PATCH for n in sizes]
    split = x.reshape(batch, channels, *(v for n in grid for v in (n, PATCH)))
    axes = len(sizes)
    grid_axes = [2 + 2 * i for i in range(axes)]
    inner_axes = [3 + 2 * i for i in range(axes)]
    ordered = split.permute(0, *grid_axes, *inner_axes, 1)
    return ordered.reshape(batch, -1, channels * PATCH**axes)


def unpatchify(patches: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `patchify` for an input of `shape` (B, C, ...)."""
    batch, channels, *sizes = shape
    grid = [n // PATCH for n in sizes]
    axes = len(sizes)
    split = patches.reshape(batch, *grid, *([PATCH] * axes), channels)
    order = [v for i in range(axes) for v in (1 + i, 1 + axes + i)]
    return split.permute(0, 1 + 2 * axes, *order).reshape(shape)


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, L, 1) of each patch; the variance is unbiased, 1e-6 is added to it."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()


def random_mask(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Kept and removed positions, (B, k) and (B, L - k), from noise (B, L): the lowest noise is kept, in its order."""
    order = noise.argsort(dim=1, stable=True)
    keep = max(int(noise.shape[1] * (1 - ratio)), 1)
    return order[:, :keep], order[:, keep:]


class MaskedImageDecoder(nn.Module):
    """Predicts the pixels of removed patches from the encoded visible ones.

    `inputs` names the kinds of input it decodes, each with its number of patches L and the length P of
    a patch vector; they share everything but the position table and the last layer.
    """

    def __init__(self, config: EncoderConfig, inputs: dict[ImageKind, tuple[int, int]]) -> None:
        super().__init__()
        dim = config.decoder_dim
        self.embed = nn.Linear(config.dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.ParameterDict({k: torch.zeros(1, tokens + 1, dim) for k, (tokens, _) in inputs.items()})
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_heads, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))
            for _ in range(config.decoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pixels = nn.ModuleDict({kind: nn.Linear(dim, pixels) for kind, (_, pixels) in inputs.items()})
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.mask_token, std=0.02)

    def reads(self, sizes: Sequence[int]) -> bool:
        """True when it has places for samples of these sizes, (H, W) or (D, H, W)."""
        kind = "2d" if len(sizes) == 2 else "3d"
        return kind in self.positions and self.positions[kind].shape[1] == math.prod(n // PATCH for n in sizes) + 1

    def decode(self, encoded: Tensor, kept: Tensor, removed: Tensor, kind: ImageKind) -> Tensor:
        """Decoded tokens (B, 1 + L, d), before the norm: the class token, the kept patches, the removed ones."""
        embedded = self.embed(encoded)
        table = self.positions[kind][0]
        # class token first, then tokens in the mask's order: their places come from the position table
        placed = table[torch.cat([kept, removed], dim=1) + 1]
        filled = torch.cat([embedded[:, 1:], self.mask_token.expand(*removed.shape, -1)], dim=1) + placed
        tokens = torch.cat([embedded[:, :1] + table[:1], filled], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens

    def forward(self, encoded: Tensor, kept: Tensor, removed: Tensor, kind: ImageKind) -> Tensor:
        """Predicted normalised patch vectors (B, L - k, P) at the `removed` positions, in their order."""
        tokens = self.decode(encoded, kept, removed, kind)
        return self.pixels[kind](self.norm(tokens[:, -removed.shape[1] :]))


def image_kind(x: Tensor) -> ImageKind:
    """Which of a decoder's inputs images (B, C, H, W) or volumes (B, 1, D, H, W) are."""
    return "2d" if x.ndim == 4 else "3d"


def reconstruction_target(x: Tensor, removed: Tensor) -> Tensor:
    """Patch vectors (B, r, P) of an input (B, C, ...) at the places `removed` (B, r), each normalised by its own
    mean and deviation, ordered as in `patchify`.
    """
    patches = patches_at(x, removed).movedim(2, -1).flatten(2)
    mean, deviation = patch_statistics(patches)
    return (patches - mean) / deviation


def reconstruction_loss(predicted: Tensor, x: Tensor, removed: Tensor) -> Tensor:
    """Mean squared error of predicted patch vectors (B, r, P) against the input's removed patches, normalised."""
    return F.mse_loss(predicted, reconstruction_target(x, removed))


class LanguageHead(nn.Module):
    """Word-piece logits of encoded tokens."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(2, config.dim))
        self.transform = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.words = nn.Linear(config.dim, config.vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        nn.init.normal_(self.query, std=0.02)
        for linear in (self.transform, self.words):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.transform.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, vocabulary) of the tokens (N, d) that are to be predicted."""
        return self.words(self.norm(F.gelu(self.transform(tokens + self.query[0])))) + self.bias


class PretrainingModel(nn.Module):
    """All that the published pre-training holds: the encoder, a decoder of images and volumes, the language head."""

    def __init__(self, config: EncoderConfig, inputs: dict[ImageKind, tuple[int, int]]) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = MaskedImageDecoder(config, inputs)
        self.language = LanguageHead(config)
