"""Sliding-window inference of segmenters: windows in batches, weighted sums kept on the device, mirrored at will.

The loop is MONAI's; weights and averages are those of nnU-Net and of MedCoSS (Ye et al., CVPR 2024).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcoss.preprocess.windows import gaussian_weights
from medcoss.training.memory import large_tensors_kept
from medcoss.training.precision import pick_device, precision

Array = NDArray[np.float32]
OVERLAP = 0.5


@dataclass(frozen=True)
class Sliding:
    """How a window slides: its `size` (H, W) or (D, H, W), how many pass the model at once, the share of a window that
    the next one covers again, and whether probabilities are averaged over all mirrorings (4 of images, 8 of volumes).
    """

    size: tuple[int, ...]
    batch_size: int
    overlap: float = OVERLAP
    mirror: bool = False


def slide(model: Callable[[Tensor], Tensor], image: Array, how: Sliding, device: torch.device | None = None) -> Array:
    """Probabilities (K, ...) of the independent channels of a whole image (C, H, W) or volume (C, D, H, W).

    `model` gives logits (B, K, ...) of windows (B, C, ...). It runs on `device` (the first GPU, or the CPU), where the
    sums are kept, too; windows go there in batches, so that the image itself need not fit. What is smaller than the
    window is padded around by its lowest value, and the padding cut off again.
    """
    # here, because it takes a second and a half that jobs without masks need not wait for
    from monai.inferers.utils import sliding_window_inference

    device = device or pick_device()
    axes = range(2, 2 + len(how.size))
    flips = [f for n in range(len(axes) + 1) for f in itertools.combinations(axes, n)] if how.mirror else [()]

    def averaged(windows: Tensor) -> Tensor:
        total: Tensor | None = None
        for flip in flips:
            with precision(device):
                logits = model(windows.flip(flip) if flip else windows)
            found = torch.sigmoid(logits.float())
            found = found.flip(flip) if flip else found
            total = found if total is None else total.add_(found)
        assert total is not None
        return total.div_(len(flips)) if how.mirror else total

    with torch.inference_mode(), large_tensors_kept(device):
        found = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(image))[None], how.size, how.batch_size, averaged,
            overlap=how.overlap, cval=float(image.min()), sw_device=device, device=device,
            roi_weight_map=torch.from_numpy(gaussian_weights(how.size)),
        )  # fmt: skip
    result: Array = found[0].cpu().numpy()
    return result
