"""What moves the weights: AdamW with decay where it belongs, and the learning rate over the run."""

import math

import torch
from torch import nn


def adamw(modules: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float],
          layer_decay: float = 1.0) -> torch.optim.AdamW:  # fmt: skip
    """AdamW (fused) that decays parameters of two or more dimensions, biases never.

    A parameter without a gradient in a step is not touched by it, nor decayed. `modules` have to be on
    their device, the CPU or a GPU. With `layer_decay` below 1, groups have an `lr_scale`: `layer_decay` to the power
    of the layers between them and the head (Bao et al., BEiT, ICLR 2022).
    """
    named = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
    depth = len(getattr(getattr(modules, "encoder", None), "blocks", ()))
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    if layer_decay == 1.0:
        groups = {(depth + 1, False): [], (depth + 1, True): []}
    for name, p in named:
        layer = depth + 1 if layer_decay == 1.0 else _layer(name, depth)
        groups.setdefault((layer, p.ndim >= 2 and not name.endswith(".bias")), []).append(p)
    made = [
        {
            "params": found,
            "weight_decay": weight_decay if decayed else 0.0,
            "lr_scale": layer_decay ** (depth + 1 - layer),
        }
        for (layer, decayed), found in groups.items()
    ]
    return torch.optim.AdamW(made, lr=lr, betas=betas, eps=1e-8, fused=True)


def _layer(name: str, depth: int) -> int:
    """Where a parameter of a head on an encoder is: 0 the embeddings, 1 to `depth` the blocks, then the head."""
    if not name.startswith("encoder."):
        return depth + 1
    return int(name.split(".")[2]) + 1 if name.startswith("encoder.blocks.") else 0


def warmup_cosine(progress: float, warmup: float, total: float, peak: float, floor: float) -> float:
    """Learning rate after `progress` epochs: linear to `peak` over `warmup`, then cosine to `floor` at `total`."""
    if progress < warmup:
        return peak * progress / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9))) / 2


def polynomial(step: int, total: int, peak: float, power: float = 0.9) -> float:
    """Learning rate of step `step` of `total`: from `peak` to nothing, as in nnU-Net (Isensee et al., 2021)."""
    return float(peak * (1 - step / total) ** power)
