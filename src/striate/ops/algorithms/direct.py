"""torch's own convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def correlation(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None = None,
    *,
    stride: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
    groups: int = 1,
    algorithm: str = "auto",
) -> Tensor:
    """Cross-correlation of x (n c *space) with kernel (k c/groups *window); zeros before and after each axis."""
    del algorithm
    if any(before != after for before, after in padding):
        x = F.pad(x, [amount for pair in reversed(padding) for amount in pair])
        padding = tuple((0, 0) for _ in padding)
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[x.ndim - 2]
    return conv(x, kernel, bias, stride, [before for before, _ in padding], dilation, groups)
