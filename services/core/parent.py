"""What processes ask of the kernel: to end with their parent, and a name."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LOOK_S = 0.5


def end_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel for this signal when the parent of this process dies (Linux); exec keeps it."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    # the parent may have died before the call
    if os.getppid() != parent:
        sys.exit(1)


def end_for_want_of_parent(asked: threading.Event, grace_s: float) -> None:
    """Have a thread end this process so many seconds after it was `asked` to end, if its parent has died.

    Nobody else would: it may wait in a library for what does not come, and hold a GPU.
    """
    parent = os.getppid()

    def wait() -> None:
        asked.wait()
        while os.getppid() == parent:
            # there is no event for it
            time.sleep(_LOOK_S)
        time.sleep(grace_s)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def be_called(name: str) -> None:
    """Name this process, in up to 15 bytes, as `top` and `ps -o comm` show it (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
