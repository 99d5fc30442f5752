"""Pooling with parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from striate.shapes import Float, Tensor


class Subsampling2d(nn.Module):
    """Add each 2x2 block, times one trainable coefficient per map, plus one trainable bias per map.

    No squashing. Two parameters per map; the sizes halve (an odd last row or column is left out).
    Starts as mean pooling: coefficient 1/4, bias 0.
    Source: LeCun, Bottou, Bengio, Haffner 1998, section II.B (layers S2, S4).

    >>> Subsampling2d(1)(torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])).item()
    3.0
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.full((channels,), 0.25))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        """Sub-sample the maps `x`."""
        total = 4 * F.avg_pool2d(x, 2)
        return total * self.coefficient[:, None, None] + self.bias[:, None, None]
