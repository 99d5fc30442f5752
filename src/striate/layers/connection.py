"""Convolution in which each output map sees only the input maps that a table gives it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError
from striate.ops.padding import per_axis
from striate.shapes import Float, Tensor


class TableConv2d(nn.Module):
    """Valid 2-D convolution with a connection table: output map k sees the input maps `table[k]`.

    Only the kernels that exist are parameters: `weight` is (connections, kernel, kernel), `bias` is (k,).
    The table [[0], [0, 1]] with 5x5 kernels has 3 * 25 + 2 = 77 parameters, a full layer 4 * 25 + 2 = 102.
    Source: LeCun, Bottou, Bengio, Haffner 1998, section II.B and table I.

    Raises InputError when the table is empty, has a map with no input, or names an input map twice or
    outside `in_channels`, and for a kernel below 1.
    """

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        for out, inputs in enumerate(table):
            known = [i for i in inputs if 0 <= i < in_channels]
            if not inputs or len(set(known)) != len(inputs):
                raise InputError(
                    "cannot build a connection table",
                    where=f"output map {out}",
                    expected=f"one or more different input maps from 0 to {in_channels - 1}",
                    got=list(inputs),
                )
        if not table:
            raise InputError("cannot build a connection table", expected="at least one output map", got="none")
        self.in_channels = in_channels
        self.out_channels = len(table)
        (self.kernel_size,) = per_axis("kernel size", kernel_size, 1)
        pairs = [out * in_channels + i for out, inputs in enumerate(table) for i in inputs]
        self.register_buffer("pairs", torch.tensor(pairs), persistent=False)
        self.pairs: Tensor
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(table)))
        self.fan_in = [len(inputs) * kernel_size**2 for inputs in table for _ in inputs]
        for weight, fan_in in zip(self.weight, self.fan_in, strict=True):
            nn.init.uniform_(weight, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        nn.init.zeros_(self.bias)

    def dense_weight(self) -> Float[Tensor, "k c h w"]:
        """The kernels as the weight of an ordinary convolution, zero where the table has no connection."""
        size = self.kernel_size
        flat = self.weight.new_zeros(self.out_channels * self.in_channels, size, size)
        return flat.index_copy(0, self.pairs, self.weight).view(self.out_channels, self.in_channels, size, size)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Convolve `x` with the kernels of the table."""
        return F.conv2d(x, self.dense_weight(), self.bias)

    def extra_repr(self) -> str:
        """Channels, connections and kernel, as torch.nn prints them."""
        return (
            f"{self.in_channels}, {self.out_channels}, connections={len(self.weight)}, kernel_size={self.kernel_size}"
        )
