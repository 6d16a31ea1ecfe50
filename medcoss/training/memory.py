"""The C library's allocator, set for training and inference on a CPU."""

import contextlib
import ctypes
from collections.abc import Iterator

import torch

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
# glibc takes no higher threshold
_LARGEST_IN_HEAP = 32 * 2**20
_NEVER_GIVEN_BACK = 2**31 - 1
# what glibc comes to by itself once something of 32 MiB was freed, and what it starts with
_GIVEN_BACK_ABOVE, _MAPPED_AT_MOST = 2 * _LARGEST_IN_HEAP, 65536
# the threshold outside of all blocks, and the blocks that are open
_trim, _open = [_GIVEN_BACK_ABOVE], list[None]()


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for the next step; False where there is no glibc.

    Activations and gradients of every step have the same sizes. Given back to the system and taken again, their
    pages are zeroed each time, which costs some percent of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP), (_M_TRIM_THRESHOLD, _NEVER_GIVEN_BACK), (_M_TOP_PAD, 2**26))
    _trim[:] = [_NEVER_GIVEN_BACK]
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


@contextlib.contextmanager
def large_tensors_kept(device: torch.device) -> Iterator[None]:
    """Let glibc keep what is freed within the block whatever its size, and give it back at the end.

    The layers of a window of 64 x 192 x 192 voxels are some hundred MB each, far above the largest that stays in the
    heap otherwise: the system zeroes their pages again for every layer, which is up to half of the time of a window
    and a third of that of a training step.
    Does nothing for another `device` than the CPU, and where there is no glibc. Blocks may be within each other.
    """
    library = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):
        yield
        return
    _open.append(None)
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, _NEVER_GIVEN_BACK)
    try:
        yield
    finally:
        _open.pop()
        if not _open:
            library.mallopt(_M_MMAP_MAX, _MAPPED_AT_MOST)
            library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP)
            library.mallopt(_M_TRIM_THRESHOLD, _trim[0])
            library.malloc_trim(0)
