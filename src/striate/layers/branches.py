"""Inception modules: paths of several kernel sizes side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.by_rank import BATCH_NORM, CONV, MAX_POOL
from striate.ops.padding import Axes, per_axis
from striate.shapes import Float, Tensor


class ConvUnit(nn.Module):
    """Convolution, batch norm (or a bias instead) and ReLU; padded so that odd kernels keep the size, or as told."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: Axes,
        stride: int = 1,
        padding: int | None = None,
        batch_norm: bool = True,
        rank: int = 2,
    ) -> None:
        super().__init__()
        kernel = per_axis("kernel size", kernel, rank)
        pad = tuple(side // 2 for side in kernel) if padding is None else padding
        self.conv = CONV[rank](in_channels, out_channels, kernel, stride, pad, bias=not batch_norm)
        self.bn = BATCH_NORM[rank](out_channels, eps=0.001) if batch_norm else nn.Identity()

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *out"]:
        """Maps, none below zero."""
        return F.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Chains of layers that all read the same maps; their results are concatenated.

    Each chain is {name: layer, ...} in order. A chain may end in {name: (layer, layer)}, called name + a and name + b:
    both read what the chain has so far, and both are results.
    """

    def __init__(self, *chains: Mapping[str, nn.Module | tuple[nn.Module, nn.Module]]) -> None:
        super().__init__()
        self.chains: list[list[tuple[str, ...]]] = []
        for chain in chains:
            self.chains.append([])
            for name, layer in chain.items():
                ends = {name: layer} if isinstance(layer, nn.Module) else {f"{name}a": layer[0], f"{name}b": layer[1]}
                self.chains[-1].append(tuple(ends))
                for end, module in ends.items():
                    self.add_module(end, module)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n d *out"]:
        """Maps of all chains."""
        results = []
        for *steps, ends in self.chains:
            y = x
            for (name,) in steps:
                y = getattr(self, name)(y)
            results += [getattr(self, name)(y) for name in ends]
        return torch.cat(results, 1)


def inception(
    in_channels: int,
    one: int,
    reduce3: int,
    three: int,
    reduce5: int,
    five: int,
    projection: int,
    *,
    batch_norm: bool = True,
    kernel: int = 5,
    rank: int = 2,
) -> Branches:
    """An Inception module: 1x1, 3x3 and 5x5 convolutions and max pooling side by side, 1x1 before the large kernels.

    The widths are a row of table 1 of the paper: the 1x1 convolutions, those before the 3x3, the 3x3, those before the
    5x5, the 5x5, those after the pooling. `kernel` is the 5 (3 in torchvision's network). The first of GoogLeNet:

    >>> sum(p.numel() for p in inception(192, 64, 96, 128, 16, 32, 32, batch_norm=False).parameters())
    163696

    Source: Szegedy et al. 2014, figure 2b.
    """
    unit = partial(ConvUnit, batch_norm=batch_norm, rank=rank)
    return Branches(
        {"branch1": unit(in_channels, one, 1)},
        {"branch2": nn.Sequential(unit(in_channels, reduce3, 1), unit(reduce3, three, 3))},
        {"branch3": nn.Sequential(unit(in_channels, reduce5, 1), unit(reduce5, five, kernel))},
        {"branch4": nn.Sequential(MAX_POOL[rank](3, 1, 1), unit(in_channels, projection, 1))},
    )
