"""The loss of our training step on the goldens' inputs."""

from types import SimpleNamespace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medcoss.modalities import Kind
from medcoss.models.encoder import Encoder
from medcoss.training.pretrain import PretrainTask
from medcoss.training.steps import Batch


def image_loss(encoder: Encoder, head: nn.Module, images: NDArray[Any], noise: NDArray[Any], mask_ratio: float,
               teacher: Encoder | None = None) -> Tensor:  # fmt: skip
    """Reconstruction of removed patches or, with a `teacher`, distillation from it."""
    return _loss(encoder, head, Kind.IMAGE2D, Batch(0, images=images, noise=noise), mask_ratio, teacher)


def report_loss(encoder: Encoder, head: nn.Module, ids: Tensor, attention: Tensor, labels: Tensor,
                teacher: Encoder | None = None) -> Tensor:  # fmt: skip
    """Masked language modelling or, with a `teacher`, distillation from it."""
    batch = Batch(0, ids=ids.numpy(), attention=attention.numpy(), labels=labels.numpy())
    return _loss(encoder, head, Kind.TEXT, batch, 0.0, teacher)


def _loss(encoder: Encoder, head: nn.Module, kind: Kind, batch: Batch, mask_ratio: float,
          teacher: Encoder | None) -> Tensor:  # fmt: skip
    # all that a step asks of its data
    source = SimpleNamespace(kind=kind, rehearsal=teacher is not None, modality="golden")
    task = PretrainTask(encoder, [head], teacher, [source], mask_ratio)  # type: ignore[list-item]
    return task.loss(batch, torch.device("cpu"))[0]
