"""The published pre-training step, restated in plain PyTorch, as the yardstick of `train_step.py`.

Written from the paper (Ye et al., CVPR 2024) and the architecture's description, at size base: `nn.MultiheadAttention`
layers, every patch embedded before masking, logits for every word piece of padded reports, pixels for every
patch, the optimizer's defaults, and the loss read back after every step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM, DEPTH, HEADS, DECODER_DIM, DECODER_DEPTH, DECODER_HEADS = 768, 12, 12, 512, 8, 16
VOCABULARY, LENGTH, PATCH, MASK_RATIO, DROP_PATH = 49_411, 112, 16, 0.75, 0.1
RATE = 3e-4


def drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    """Leave out the branch of whole samples at random and scale the rest."""
    if not training or rate == 0:
        return x
    keep = torch.rand(len(x), 1, 1, device=x.device, dtype=x.dtype) < 1 - rate
    return x * keep / (1 - rate)


class Layer(nn.Module):
    """Pre-norm transformer layer, with layer scale and drop path where `scale` is given."""

    def __init__(self, dim: int, heads: int, eps: float, scale: float | None, drop: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=eps), nn.LayerNorm(dim, eps=eps)
        self.linear1, self.linear2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.scale1 = nn.Parameter(torch.full((dim,), scale)) if scale else None
        self.scale2 = nn.Parameter(torch.full((dim,), scale)) if scale else None
        self.drop = drop

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, d) to (B, L, d); `mask` (B * heads, L, L) is added to the attention logits."""
        y = self.norm1(x)
        y = drop_path(self.attention(y, y, y, attn_mask=mask, need_weights=False)[0], self.drop, self.training)
        x = x + (y if self.scale1 is None else self.scale1 * y)
        y = drop_path(self.linear2(F.gelu(self.linear1(self.norm2(x)))), self.drop, self.training)
        return x + (y if self.scale2 is None else self.scale2 * y)


class PlainModel(nn.Module):
    """Encoder, image decoder and language head in one module."""

    def __init__(self, tokens: dict[str, int]) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, DIM)
        self.word_positions, self.word_types = nn.Embedding(512, DIM), nn.Embedding(2, DIM)
        self.word_norm, self.image_norm = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.project = nn.ModuleDict({"2d": nn.Conv2d(3, DIM, PATCH, PATCH), "3d": nn.Conv3d(1, DIM, PATCH, PATCH)})
        self.spatial = nn.ModuleDict({"2d": nn.Embedding(1024, DIM), "3d": nn.Embedding(4096, DIM)})
        self.temporal = nn.ModuleDict({"2d": nn.Embedding(8, DIM), "3d": nn.Embedding(8, DIM)})
        self.class_token = nn.Parameter(torch.randn(1, 1, DIM) * 0.02)
        self.layers = nn.ModuleList(Layer(DIM, HEADS, 1e-5, 1e-3, DROP_PATH) for _ in range(DEPTH))
        self.decoder_embed, self.decoder_norm = nn.Linear(DIM, DECODER_DIM), nn.LayerNorm(DECODER_DIM, eps=1e-6)
        self.mask_token = nn.Parameter(torch.randn(1, 1, DECODER_DIM) * 0.02)
        self.decoder_positions = nn.ParameterDict(
            {kind: torch.zeros(1, count + 1, DECODER_DIM) for kind, count in tokens.items()}
        )
        self.decoder = nn.ModuleList(Layer(DECODER_DIM, DECODER_HEADS, 1e-6, None, 0.0) for _ in range(DECODER_DEPTH))
        self.pixels = nn.ModuleDict({"2d": nn.Linear(DECODER_DIM, 768), "3d": nn.Linear(DECODER_DIM, 4096)})
        self.query = nn.Embedding(2, DIM)
        self.transform, self.transform_norm = nn.Linear(DIM, DIM), nn.LayerNorm(DIM, eps=1e-12)
        self.logits = nn.Linear(DIM, VOCABULARY)

    def image_loss(self, x: Tensor) -> Tensor:
        """Masked image modelling of images (B, 3, H, W) or volumes (B, 1, D, H, W)."""
        kind = "2d" if x.ndim == 4 else "3d"
        patches = self.project[kind](x).flatten(2).transpose(1, 2)
        batch, count, _ = patches.shape
        tokens = self.image_norm(patches + self.spatial[kind].weight[:count] + self.temporal[kind].weight[0])
        restore, kept, mask = self._mask(batch, count, x.device)
        tokens = torch.gather(tokens, 1, kept[..., None].expand(-1, -1, DIM))
        tokens = torch.cat([self.class_token.expand(batch, -1, -1), tokens], dim=1)
        for layer in self.layers:
            tokens = layer(tokens)
        y = self.decoder_embed(tokens)
        filled = torch.cat([y[:, 1:], self.mask_token.expand(batch, count - kept.shape[1], -1)], dim=1)
        filled = torch.gather(filled, 1, restore[..., None].expand(-1, -1, DECODER_DIM))
        y = torch.cat([y[:, :1], filled], dim=1) + self.decoder_positions[kind]
        for layer in self.decoder:
            y = layer(y)
        predicted = self.pixels[kind](self.decoder_norm(y))[:, 1:]
        target = _patches(x)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return (((predicted - target) ** 2).mean(-1) * mask).sum() / mask.sum()

    @staticmethod
    def _mask(batch: int, count: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        order = torch.rand(batch, count, device=device).argsort(dim=1)
        restore, keep = order.argsort(dim=1), int(count * (1 - MASK_RATIO))
        mask = torch.ones(batch, count, device=device)
        mask[:, :keep] = 0
        return restore, order[:, :keep], torch.gather(mask, 1, restore)

    def report_loss(self, ids: Tensor, attention: Tensor, labels: Tensor) -> Tensor:
        """Masked language modelling of reports (B, 112), all of it padded."""
        tokens = self.words(ids) + self.word_positions.weight[: ids.shape[1]] + self.word_types.weight[0]
        tokens = self.word_norm(tokens)
        length = ids.shape[1]
        mask = torch.tril(torch.ones(length, length, device=ids.device)) * attention[:, None, :]
        mask = ((1 - mask) * -10000.0).repeat_interleave(HEADS, dim=0)
        for layer in self.layers:
            tokens = layer(tokens, mask)
        logits = self.logits(self.transform_norm(F.gelu(self.transform(tokens + self.query.weight[0]))))
        return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)


def _patches(x: Tensor) -> Tensor:
    """Patch vectors (B, L, P)."""
    batch, channels, *sizes = x.shape
    axes = len(sizes)
    split = x.reshape(batch, channels, *(v for n in sizes for v in (n // PATCH, PATCH)))
    ordered = split.permute(0, *range(2, 2 + 2 * axes, 2), *range(3, 3 + 2 * axes, 2), 1)
    return ordered.reshape(batch, -1, channels * PATCH**axes)


@dataclass
class PlainTrainer:
    """The yardstick's loop: one step is one call."""

    model: PlainModel
    device: torch.device

    def __post_init__(self) -> None:
        self.model.to(self.device).train()
        plain = [p for p in self.model.parameters() if p.ndim < 2]
        decayed = [p for p in self.model.parameters() if p.ndim >= 2]
        groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.05}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
        # the published run trains in float16 with a scaler on GPUs
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.device.type == "cuda")

    def step(self, batch: tuple[Tensor, ...]) -> float:
        """One optimizer step; the loss, read back."""
        moved = [x.to(self.device) for x in batch]
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            loss = self.model.image_loss(*moved) if len(moved) == 1 else self.model.report_loss(*moved)
        value = loss.item()
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return value
