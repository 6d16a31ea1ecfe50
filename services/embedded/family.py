"""The processes of a platform, told by the folder that their environment names."""

import contextlib
import os
from pathlib import Path

import psutil

FAMILY = "MEDCOSS_EMBEDDED_DIR"
LEFTOVER_GRACE_S = 20.0


def family_of(data_dir: Path) -> list[psutil.Process]:
    """Every other living process that a platform on this folder has started, wherever it is in the process tree."""
    return [process for process in psutil.process_iter() if _belongs(process, data_dir)]


def end_family(data_dir: Path, grace_s: float) -> None:
    """End the processes of `family_of`: SIGTERM, and SIGKILL after `grace_s` seconds; with 0 at once."""
    found = family_of(data_dir)
    if grace_s:
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
    _, alive = psutil.wait_procs(found, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


def _belongs(process: psutil.Process, data_dir: Path) -> bool:
    try:
        return bool(
            process.pid != os.getpid()
            and process.status() != psutil.STATUS_ZOMBIE
            and process.environ().get(FAMILY) == str(data_dir)
        )
    except psutil.Error:
        return False
