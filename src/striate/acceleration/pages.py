"""Memory that the C library keeps for the next call, instead of giving it back and asking for fresh pages."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h> of glibc
TRIM_THRESHOLD, MMAP_MAX = -1, -4
LARGEST = 2**31 - 1


def keep_pages() -> bool:
    """From now on this process keeps large blocks that it has freed; False where the C library is not glibc.

    By default a block of 32 MB or more is mapped anew for each allocation, and each of its pages is zeroed by the
    kernel at its first touch, which takes longer than a memory-bound layer's own work.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((TRIM_THRESHOLD, LARGEST), (MMAP_MAX, 0))  # an MMAP_THRESHOLD above 32 MB is refused by older ones
    return all(mallopt(option, amount) == 1 for option, amount in settings)
