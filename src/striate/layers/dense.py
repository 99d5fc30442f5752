"""Dense blocks: each layer reads the maps of all layers before it (Huang et al. 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.by_rank import AVG_POOL, BATCH_NORM, CONV
from striate.ops.padding import per_axis
from striate.shapes import Float, Tensor


class DenseBlock(nn.Module):
    """Layers whose new maps are appended to those that they read: in_channels + depth · growth come out.

    Raises InputError for a number below 1.
    """

    def __init__(self, depth: int, in_channels: int, growth: int, dropout: float = 0.0, *, rank: int = 2) -> None:
        super().__init__()
        per_axis("depth", depth, 1)
        for i in range(depth):
            self.add_module(f"denselayer{i + 1}", DenseLayer(in_channels + i * growth, growth, dropout, rank=rank))

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *space"]:
        """The input's maps and those of each layer."""
        for layer in self.children():
            x = torch.cat((x, layer(x)), 1)
        return x


class DenseLayer(nn.Module):
    """Batch norm and ReLU before a 1x1 and before a 3x3 convolution. Raises InputError for a number below 1."""

    def __init__(self, in_channels: int, growth: int, dropout: float = 0.0, *, rank: int = 2) -> None:
        super().__init__()
        per_axis("number of channels", in_channels, 1)
        per_axis("growth", growth, 1)
        self.norm1 = BATCH_NORM[rank](in_channels)
        self.conv1 = CONV[rank](in_channels, 4 * growth, 1, bias=False)
        self.norm2 = BATCH_NORM[rank](4 * growth)
        self.conv2 = CONV[rank](4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *space"]:
        """New maps."""
        x = self.conv1(F.relu(self.norm1(x)))
        x = self.conv2(F.relu(self.norm2(x)))
        new: Tensor = self.dropout(x)
        return new


class Transition(nn.Module):
    """Half of the maps, at half of the size. Raises InputError for fewer than 2 channels."""

    def __init__(self, channels: int, *, rank: int = 2) -> None:
        super().__init__()
        per_axis("number of channels", channels, 1, least=2)
        self.norm = BATCH_NORM[rank](channels)
        self.conv = CONV[rank](channels, channels // 2, 1, bias=False)
        self.pool = AVG_POOL[rank](2)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *out"]:
        """Maps of the next block."""
        maps: Tensor = self.pool(self.conv(F.relu(self.norm(x))))
        return maps
