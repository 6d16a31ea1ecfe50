"""The device that work runs on, and the number format that it does well."""

import contextlib
from typing import Any, Literal

import torch

Choice = Literal["auto", "bf16", "fp16", "fp32"]
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def pick_device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def number_type(device: torch.device, choice: Choice = "auto") -> torch.dtype:
    """What the matrix products run in: by itself bfloat16 where a GPU has it in hardware, float16 on
    older GPUs, float32 on a CPU.
    """
    if choice != "auto":
        return _TYPES[choice]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def precision(device: torch.device, choice: Choice = "auto") -> contextlib.AbstractContextManager[Any]:
    """Autocast to the number type of the device; nothing for float32."""
    chosen = number_type(device, choice)
    return contextlib.nullcontext() if chosen is torch.float32 else torch.autocast(device.type, chosen)


def gradient_scaler(device: torch.device, choice: Choice = "auto") -> torch.amp.GradScaler:
    """Scales the loss for float16, whose small gradients would vanish; does nothing for the other types.

    A step whose gradients overflow is left out and the scale halved (Micikevicius et al., ICLR 2018).
    """
    return torch.amp.GradScaler(device.type, enabled=number_type(device, choice) is torch.float16)
