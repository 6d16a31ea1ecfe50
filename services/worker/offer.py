"""What this worker has to offer to jobs."""

import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from services.core.scheduling import Offer
from services.core.settings import Settings

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_GPUS = Path("/proc/driver/nvidia/gpus")
# of control groups of version 2 and 1, as a container sees its own
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def offer(settings: Settings) -> Offer:
    """GPUs and memory by the settings, or what the machine or the container lets this process have; of a worker that
    has jobs run on other machines, what those have.
    """
    if settings.machines is not None:
        return Offer(settings.machines_gpus, nodes=settings.machines)
    names = tuple(devices(settings))
    return Offer(len(names), settings.worker_memory_bytes or memory_bytes(), names)


def devices(settings: Settings) -> list[str]:
    """The GPUs that this worker offers, as CUDA_VISIBLE_DEVICES names them: of the visible ones the first, by number
    where that variable is not set, as not every driver lists its GPUs.
    """
    if settings.worker_gpus is None:
        return _seen()
    if _VISIBLE in os.environ:
        return _seen()[: settings.worker_gpus]
    return [str(number) for number in range(settings.worker_gpus)]


def hides_gpus(settings: Settings) -> bool:
    """True when jobs may see no other GPUs than those that they are given."""
    return settings.worker_gpus is not None or bool(_seen())


def _seen() -> list[str]:
    visible = os.environ.get(_VISIBLE)
    if visible is not None:
        return [device.strip() for device in visible.split(",") if device.strip() not in {"", "-1"}]
    return [str(number) for number in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []


def memory_bytes(limits: Sequence[Path] = _MEMORY_LIMITS) -> int:
    """Memory that this process may have: the machine's, or less where its container has a limit."""
    total = int(psutil.virtual_memory().total)
    for path in limits:
        try:
            return min(total, int(path.read_text()))
        except (OSError, ValueError):
            # the other version, no container, or one without a limit ("max"; a huge number in version 1)
            continue
    return total
