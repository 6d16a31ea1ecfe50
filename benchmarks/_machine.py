"""What every figure is stated with: the machine."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> str:
    """How many cores this process may use, and of what."""
    return f"{len(os.sched_getaffinity(0))} cores of {processor()}"
