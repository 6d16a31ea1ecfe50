"""torch.compile for the transformer blocks, where a compiler is at hand."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from medcoss.models.encoder import Block

# every length of input, with and without gradients, is a variant of the one block
VARIANTS = 64


def can_compile(device: torch.device) -> str | None:
    """None when torch.compile works on the device, or the name of the error that says why not."""
    try:
        torch.compile(torch.sin)(torch.ones(2, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        return type(error).__name__
    return None


def as_written(compiled: bool) -> contextlib.AbstractContextManager[Any]:
    """Blocks that are `compiled` run as they are written meanwhile: for work that is not worth compiling for."""
    return torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()


@contextlib.contextmanager
def compiled_blocks(modules: list[nn.Module], device: torch.device, log: Callable[[str], None]) -> Iterator[None]:
    """Every encoder and decoder block in `modules` compiled while the context lasts; logs when that cannot be."""
    error = can_compile(device)
    if error is not None:
        log(f"compile is on, but torch.compile does not work here ({error}); training goes on without it")
        yield
        return
    blocks = [block for module in modules for block in module.modules() if isinstance(block, Block)]
    with torch._dynamo.config.patch(recompile_limit=VARIANTS):
        for block in blocks:
            block.compile()
        try:
            yield
        finally:
            for block in blocks:
                block._compiled_call_impl = None
