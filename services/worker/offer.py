"""What this worker has to offer to jobs."""

import os
from pathlib import Path

import psutil

from services.core.scheduling import Offer
from services.core.settings import Settings

_GPUS = Path("/proc/driver/nvidia/gpus")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def offer(settings: Settings) -> Offer:
    """GPUs and memory by the settings, or what the machine or the container lets this process have."""
    gpus = len(_seen()) if settings.worker_gpus is None else settings.worker_gpus
    return Offer(gpus, settings.worker_memory_bytes or _memory())


def devices(settings: Settings) -> list[str]:
    """The GPUs that this worker offers, as CUDA_VISIBLE_DEVICES names them."""
    seen = _seen()
    return seen if settings.worker_gpus is None else seen[: settings.worker_gpus]


def _seen() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [device.strip() for device in visible.split(",") if device.strip() not in {"", "-1"}]
    return [str(number) for number in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []


def _memory() -> int:
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_MEMORY_LIMIT.read_text()))
    except (OSError, ValueError):
        # no container, or one without a limit ("max")
        return total
