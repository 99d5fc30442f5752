"""What makes training on a CPU faster: settings of the process, and how weights lie in memory."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

import torch
from torch import nn

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@cache
def settle_process() -> None:
    """Called before the first tensor is computed: by `open_session`, `load` and `fit`; later calls do nothing."""
    # Numbers below 1e-38 become 0: computing with them is up to 100 times slower.
    torch.set_flush_denormal(True)
    if sys.platform == "linux" and not os.environ.get("MALLOC_MMAP_MAX_"):
        # Memory that a step frees serves the next one, instead of going back to the kernel, which hands out every
        # page anew, zeroed.
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(M_MMAP_MAX, 0)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def lay_out(model: nn.Module) -> None:
    """Store the convolutions of a CPU model channels last where that is faster: 3-D ones, and 2-D ones of wide layers.

    oneDNN then needs no reordering of what pooling and norms give it. Measured here, a training step takes 0.7 to 0.85
    of the time where widths are multiples of a vector (16 floats), but twice the time with LeNet-5's 6 and 120. The
    backward pass of 3-D convolutions takes 0.1 of the time with 4 or 8 channels and 0.8 with 16.
    """
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    wide = sum(weight.numel() for weight in weights if len(weight) % 16 == 0)
    if wide > 0.9 * sum(weight.numel() for weight in weights):
        for weight in (p for p in model.parameters() if p.ndim == 4):
            weight.data = weight.data.to(memory_format=torch.channels_last)
    for weight in (p for p in model.parameters() if p.ndim == 5):
        weight.data = weight.data.to(memory_format=torch.channels_last_3d)
