"""Models: one encoder over all modalities, pretext heads, classifier, segmenter."""

import importlib.util

import torch


def _declare_vision_operators() -> None:
    """Declare two torchvision operators where its wheel cannot (a CUDA wheel beside a CPU-only torch)."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except (RuntimeError, OSError, ImportError):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        # the library's registrations end with the object
        globals()["_LIBRARY"] = library


_declare_vision_operators()
