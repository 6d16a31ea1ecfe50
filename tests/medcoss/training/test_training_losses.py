"""Segmentation losses: bounds, and voxels and channels that are not known."""

import math

import pytest
import torch
from torch import Tensor

from medcoss.training.losses import binary_cross_entropy, dice_loss, segmentation_loss


def _pair(shape: tuple[int, ...] = (2, 2, 5, 6)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=generator), (torch.rand(shape, generator=generator) > 0.6).float()


def test_perfect_and_opposite_answers_bound_the_dice_loss() -> None:
    target = (torch.arange(64).reshape(1, 1, 8, 8) % 3 == 0).float()
    assert dice_loss(80 * (target - 0.5), target).item() == pytest.approx(1 - 44 / 45, abs=1e-4)
    assert dice_loss(80 * (0.5 - target), target).item() == pytest.approx(1, abs=1e-4)


def test_known_targets_give_the_same_under_both_rules() -> None:
    logits, target = _pair()
    assert segmentation_loss(logits, target).item() == pytest.approx(
        segmentation_loss(logits, target, "published").item(), rel=1e-6
    )
    plain = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    assert binary_cross_entropy(logits, target).item() == pytest.approx(plain.item(), rel=1e-6)


def test_an_unknown_channel_is_left_out() -> None:
    logits, target = _pair()
    target[0, 1] = -1
    rest = [(0, 0), (1, 0), (1, 1)]
    for loss in (dice_loss, binary_cross_entropy):
        alone = [loss(logits[b : b + 1, k : k + 1], target[b : b + 1, k : k + 1]).item() for b, k in rest]
        for rule in ("voxel", "published"):
            assert loss(logits, target, rule).item() == pytest.approx(sum(alone) / 3, rel=1e-5)


@pytest.mark.parametrize("place", [0, 17])
def test_an_unknown_voxel_does_not_count(place: int) -> None:
    logits, target = _pair((1, 1, 5, 6))
    target.view(-1)[place] = -1
    known = torch.arange(30) != place
    short, kept = logits.view(-1)[known][None, None], target.view(-1)[known][None, None]
    for loss in (dice_loss, binary_cross_entropy):
        assert loss(logits, target).item() == pytest.approx(loss(short, kept).item(), rel=1e-5)
    logits.requires_grad_()
    segmentation_loss(logits, target).backward()
    assert logits.grad is not None
    assert logits.grad.view(-1)[place] == 0 and (logits.grad.view(-1)[known] != 0).all()


def test_nothing_known_costs_nothing_and_the_published_rule_has_no_number() -> None:
    logits, target = _pair()
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.full_like(target, -1))
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any()
    assert math.isnan(segmentation_loss(logits, torch.full_like(target, -1), "published").item())
