"""The network that labels roads in aerial images (Mnih 2013)."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture


@architecture(
    paper="Mnih 2013, Machine Learning for Aerial Image Labeling (thesis, University of Toronto), as restated by "
    "Saito, Yamashita, Aoki 2016",
    year=2013,
    input=(3, 64, 64),
    output=(1, 16, 16),
    least=40,
    parameters=17_353_984,
    macs=38_652_672,
    lectures="aerial images, possibly outdated maps",
    note="Saito et al. and their published code agree in all numbers but the pooling, which the code leaves out (its "
    "dense layer then has 5,120 inputs in place of 3,920).",
)
def mnih_road(
    num_classes: int = 1,
    in_channels: int = 3,
    input_size: tuple[int, int] = (64, 64),
    patch: Annotated[int, Between(1, 64, whole=True)] = 16,
    width: Width = 1.0,
    dropout: Chance = 0.0,
) -> nn.Module:
    """A 64x64 aerial patch to the 16x16 road map of its middle: three convolutions and two dense layers.

    Maps 64 -> 13 (16x16, stride 4) -> 12 (2x2 max pooling, stride 1) -> 9 -> 7, then 3,920, 4,096 and 256 values.
    Returns logits; `patch` is the side of the map, with `num_classes` channels. `width` multiplies the channels;
    `dropout` acts on the 4,096 values.
    """
    return MnihRoad(num_classes, in_channels, input_size, patch, width, dropout)


class MnihRoad(nn.Module):
    """See `mnih_road`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        patch: int,
        width: float,
        dropout: float,
    ) -> None:
        super().__init__()
        first, second, third, hidden = (scaled(n, width) for n in (64, 112, 80, 4096))
        h, w = ((side - 16) // 4 - 5 for side in input_size)
        self.map = (num_classes, patch, patch)
        self.conv1 = nn.Conv2d(in_channels, first, 16, stride=4)
        self.conv2 = nn.Conv2d(first, second, 4)
        self.conv3 = nn.Conv2d(second, third, 3)
        self.fc4 = nn.Linear(third * h * w, hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc5 = nn.Linear(hidden, num_classes * patch * patch)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Logits of the middle's pixels."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2, stride=1)
        x = F.relu(self.conv3(F.relu(self.conv2(x))))
        x = self.dropout(F.relu(self.fc4(x.flatten(1))))
        logits: Tensor = self.fc5(x)
        return logits.view(x.shape[0], *self.map)
