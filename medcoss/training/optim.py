"""What moves the weights: AdamW with decay where it belongs, and the learning rate over the run."""

import math

import torch
from torch import nn


def adamw(modules: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW (fused) that decays parameters of two or more dimensions, biases never.

    A parameter without a gradient in a step is not touched by it, nor decayed. `modules` have to be on
    their device, the CPU or a GPU.
    """
    named = [(name, p) for name, p in modules.named_parameters() if p.requires_grad]
    decayed = [p for name, p in named if p.ndim >= 2 and not name.endswith(".bias")]
    plain = [p for name, p in named if p.ndim < 2 or name.endswith(".bias")]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)


def warmup_cosine(progress: float, warmup: float, total: float, peak: float, floor: float) -> float:
    """Learning rate after `progress` epochs: linear to `peak` over `warmup`, then cosine to `floor` at `total`."""
    if progress < warmup:
        return peak * progress / warmup
    return floor + (peak - floor) * (1 + math.cos(math.pi * (progress - warmup) / max(total - warmup, 1e-9))) / 2


def polynomial(step: int, total: int, peak: float, power: float = 0.9) -> float:
    """Learning rate of step `step` of `total`: from `peak` to nothing, as in nnU-Net (Isensee et al., 2021)."""
    return float(peak * (1 - step / total) ** power)
