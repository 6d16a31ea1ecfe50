"""The library without the platform: folders in, folders out, for scripts and notebooks (docs/library.md)."""

from medcoss.library.embedding import embed
from medcoss.library.inspection import inspect_dataset
from medcoss.library.stages import build_buffer, finetune, prepare, pretrain

__all__ = ["build_buffer", "embed", "finetune", "inspect_dataset", "prepare", "pretrain"]
