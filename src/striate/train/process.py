"""Settings of the whole process that make training on a CPU faster and change no result that matters."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import torch

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@cache
def settle_process() -> None:
    """Called once by `fit` and by the command line; see each line for what it does."""
    # Numbers below 1e-38 become 0: computing with them is up to 100 times slower.
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and not os.environ.get("MALLOC_MMAP_MAX_"):
        # Memory that a step frees serves the next one, instead of going back to the kernel, which hands out every
        # page anew, zeroed.
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
