"""What the GPUs of this machine are and do, as far as NVIDIA's library tells (the extra `gpu`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

_log = structlog.get_logger()


@dataclass(frozen=True)
class Gpus:
    """Of all GPUs together: the models, the memory of the smallest one and what is used in all, in bytes, and
    the mean share of time that they compute, 0 to 1. None where it is not known.
    """

    model: str | None = None
    memory_bytes: int | None = None
    utilisation: float | None = None
    memory_used_bytes: int | None = None


def look(devices: Sequence[str]) -> Gpus:
    """The GPUs that `devices` name, by number or identifier as in CUDA_VISIBLE_DEVICES."""
    if not devices:
        return Gpus()
    try:
        import pynvml
    except ImportError:
        return Gpus()
    try:
        pynvml.nvmlInit()
        try:
            return _read(pynvml, devices)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        _log.debug("gpus_unknown", error=str(error))
        return Gpus()


def _read(nvml: Any, devices: Sequence[str]) -> Gpus:
    handles = [
        nvml.nvmlDeviceGetHandleByIndex(int(device)) if device.isdigit() else nvml.nvmlDeviceGetHandleByUUID(device)
        for device in devices
    ]
    memory = [nvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
    names = list(dict.fromkeys(str(nvml.nvmlDeviceGetName(handle)) for handle in handles))
    return Gpus(
        ", ".join(names)[:128], min(m.total for m in memory), _utilisation(nvml, handles), sum(m.used for m in memory)
    )


def _utilisation(nvml: Any, handles: Sequence[Any]) -> float | None:
    try:
        shares = [float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100 for handle in handles]
    except nvml.NVMLError_NotSupported:
        # a slice of a GPU (MIG) tells its memory alone
        return None
    return sum(shares) / len(shares)
