"""medcoss: continual self-supervised pre-training of one encoder for medical data.

`from medcoss import prepare, pretrain, build_buffer, finetune, embed` works on plain folders, without the
platform (docs/library.md).

The package root imports nothing heavy, so that the control plane and the client can
use `medcoss.specs`, `medcoss.modalities` and `medcoss.client` without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medcoss.library import build_buffer, embed, finetune, inspect_dataset, prepare, pretrain

__version__ = "0.1.0"
__all__ = ["__version__", "build_buffer", "embed", "finetune", "inspect_dataset", "prepare", "pretrain"]


def __getattr__(name: str) -> Any:
    """The library's functions, imported when they are asked for."""
    if name in __all__:
        return getattr(import_module("medcoss.library"), name)
    raise AttributeError(f"module 'medcoss' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
