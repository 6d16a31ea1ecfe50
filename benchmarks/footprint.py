"""Wall time and peak memory of a command and all its children.

    python benchmarks/footprint.py make demo

Memory is the sum of the proportional set sizes (PSS: shared pages count once) of every process in the command's
family, sampled twice a second; processes that leave the family are found by the environment variable that marks them.
"""

import os
import platform
import subprocess
import sys
import time
import uuid

import psutil

MARK = "FOOTPRINT_FAMILY"
INTERVAL_S = 0.5


def family_bytes(mark: str) -> int:
    """Sum of the PSS of all processes whose environment carries the mark, in bytes."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def main(argv: list[str]) -> int:
    """Run the command, print its figures, return its exit code."""
    mark = uuid.uuid4().hex
    began = time.monotonic()
    peak = 0
    with subprocess.Popen(argv, env=os.environ | {MARK: mark}) as process:
        while process.poll() is None:
            peak = max(peak, family_bytes(mark))
            time.sleep(INTERVAL_S)
    seconds = time.monotonic() - began
    cores = len(os.sched_getaffinity(0))
    print(
        f"{' '.join(argv)}: exit code {process.returncode}, {seconds:.0f} s, peak memory {peak / 2**30:.2f} GiB "
        f"({platform.machine()}, {cores} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB)"
    )
    return process.returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python benchmarks/footprint.py COMMAND...")
    sys.exit(main(sys.argv[1:]))
