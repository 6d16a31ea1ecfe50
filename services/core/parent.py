"""What processes ask of the kernel: to end with their parent, and a name."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def end_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel for this signal when the parent of this process dies (Linux); exec keeps it."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    # the parent may have died before the call
    if os.getppid() != parent:
        sys.exit(1)


def be_called(name: str) -> None:
    """Name this process, in up to 15 bytes, as `top` and `ps -o comm` show it (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
