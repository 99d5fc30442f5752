"""A plain 3-D U-Net, and its multiply-adds by hand."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

IN, CLASSES, WIDTHS = 1, 2, (16, 32, 64, 128, 256)


def double(ins: int, outs: int) -> nn.Sequential:
    """Two 3x3x3 convolutions that keep the size, each with a norm and a ReLU."""
    layers: list[nn.Module] = []
    for before in (ins, outs):
        layers += [nn.Conv3d(before, outs, 3, padding=1), nn.BatchNorm3d(outs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet3d(nn.Module):
    """Max pooling down, 2x2x2 transposed convolutions up, and a skip at each of four sizes."""

    def __init__(self) -> None:
        super().__init__()
        steps = list(pairwise(WIDTHS))[::-1]
        self.down = nn.ModuleList(double(a, b) for a, b in pairwise((IN, *WIDTHS)))
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ModuleList(nn.ConvTranspose3d(wide, narrow, 2, stride=2) for narrow, wide in steps)
        self.merge = nn.ModuleList(double(2 * narrow, narrow) for narrow, _ in steps)
        self.head = nn.Conv3d(WIDTHS[0], CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


def true_macs(side: int) -> tuple[int, int]:
    """All multiply-adds on a cube of `side`, and those of the transposed convolutions among them.

    A convolution makes k^3 Cin Cout products for each voxel that it puts out; a transposed one as many for each voxel
    that it takes in. Kernel 2 with stride 2: no two products meet, so there are 8 Cin Cout for each of those.
    """
    voxels = [(side >> level) ** 3 for level in range(len(WIDTHS))]
    down = sum(27 * (a * b + b * b) * n for (a, b), n in zip(pairwise((IN, *WIDTHS)), voxels, strict=True))
    merge = sum(27 * (2 * w * w + w * w) * n for w, n in zip(WIDTHS[:-1], voxels[:-1], strict=True))
    up = sum(8 * narrow * wide * n for (narrow, wide), n in zip(pairwise(WIDTHS), voxels[1:], strict=True))
    return down + merge + up + WIDTHS[0] * CLASSES * voxels[0], up
