"""Ends what a platform leaves when it is killed: `python -m services.embedded.guard FOLDER`, with a pipe as its input.

The parts get a signal when their platform dies, but one that hangs just then would stay for good.
"""

import sys
from pathlib import Path

import psutil

from services.embedded import litter
from services.embedded.family import LEFTOVER_GRACE_S, end_family, family_of


def guard(data_dir: Path) -> None:
    """Wait until the platform has ended, which closes the input, let its parts end, kill those that have not, and
    remove what they have left.
    """
    sys.stdin.buffer.read()
    psutil.wait_procs(family_of(data_dir), timeout=LEFTOVER_GRACE_S)
    end_family(data_dir, 0)
    litter.remove(data_dir)


if __name__ == "__main__":
    guard(Path(sys.argv[1]))
