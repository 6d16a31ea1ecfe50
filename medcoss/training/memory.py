"""The C library's allocator, set for training on a CPU."""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
# glibc takes no higher threshold
_LARGEST_IN_HEAP = 32 * 2**20
_NEVER_GIVEN_BACK = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for the next step; False where there is no glibc.

    Activations and gradients of every step have the same sizes. Given back to the system and taken again, their
    pages are zeroed each time, which costs some percent of a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST_IN_HEAP), (_M_TRIM_THRESHOLD, _NEVER_GIVEN_BACK), (_M_TOP_PAD, 2**26))
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)
