"""Segmentation losses on logits (B, K, ...) of independent channels, with targets 0, 1 and -1 for "not known".

Not known are the voxels that an augmentation filled in, and whole channels that were never annotated.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

UNKNOWN = -1
Ignore = Literal["voxel", "published"]
"""`voxel`: every unknown voxel is left out, and a (sample, channel) pair without a known one; nothing known at
all gives 0. `published`: a pair is left out when its first voxel is unknown, any other -1 counts as a label of
-1, and all pairs left out give NaN.
"""


def dice_loss(logits: Tensor, target: Tensor, ignore: Ignore = "voxel") -> Tensor:
    """One minus the soft Dice of sigmoid probabilities, the mean over (sample, channel) pairs.

    An empty target costs 1: without overlap there is no Dice (1 is added to the denominator alone).
    """
    known = _known(target, ignore)
    p, t = (torch.sigmoid(logits) * known).flatten(2), (target * known).flatten(2)
    overlap = 2 * (p * t).sum(2) / (p.sum(2) + t.sum(2) + 1)
    return _mean(1 - overlap, target, ignore)


def binary_cross_entropy(logits: Tensor, target: Tensor, ignore: Ignore = "voxel") -> Tensor:
    """Binary cross-entropy, the mean over the voxels of each (sample, channel) pair, then over the pairs."""
    known = _known(target, ignore).flatten(2)
    cost = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(2)
    return _mean((cost * known).sum(2) / known.sum(2).clamp(min=1), target, ignore)


def segmentation_loss(logits: Tensor, target: Tensor, ignore: Ignore = "voxel") -> Tensor:
    """Dice loss plus binary cross-entropy, without weights."""
    return dice_loss(logits, target, ignore) + binary_cross_entropy(logits, target, ignore)


def _known(target: Tensor, ignore: Ignore) -> Tensor:
    """1 where a voxel counts."""
    return torch.ones_like(target) if ignore == "published" else (target != UNKNOWN).to(target.dtype)


def _mean(losses: Tensor, target: Tensor, ignore: Ignore) -> Tensor:
    """Mean of the losses (B, K) of the pairs that count."""
    voxels = target.flatten(2)
    if ignore == "published":
        return losses[voxels[:, :, 0] != UNKNOWN].mean()
    kept = (voxels != UNKNOWN).any(2).to(losses.dtype)
    return (losses * kept).sum() / kept.sum().clamp(min=1)
