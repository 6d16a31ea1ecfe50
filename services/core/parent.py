"""Processes that end with their parent."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel for this signal when the parent of this process dies (Linux); exec keeps it."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    # the parent may have died before the call
    if os.getppid() != parent:
        sys.exit(1)
