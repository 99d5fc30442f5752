"""Temporal convolutional network (Bai, Kolter, Koltun 2018): the generic convolutional model of sequences."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance
from striate.zoo.registry import architecture


@architecture(
    paper="Bai, Kolter, Koltun 2018, An empirical evaluation of generic convolutional and recurrent networks for "
    "sequence modeling, section 3 and table 2 (sequential MNIST)",
    year=2018,
    input=(1, 784),
    least=1,
    parameters=66_910,
    macs=51_607_050,
    published="about 70K (table 1, sequential MNIST)",
    lectures="cited with the address of char_cnn's paper",
    note="Weights start from N(0, 0.01²) as the paper says; the official code sets them on weight-normed layers, where "
    "the next forward undoes it. Table 2 has dropout 0 for this task, the code 0.05.",
)
def tcn(
    num_classes: int = 10,
    in_channels: int = 1,
    hidden: Annotated[int, Between(1, 65536, whole=True)] = 25,
    levels: Annotated[int, Between(1, 30, whole=True)] = 8,
    kernel: Annotated[int, Between(2, 1024, whole=True)] = 7,
    dropout: Chance = 0.0,
    each_step: bool = False,
) -> nn.Module:
    """Residual blocks of two causal weight-normed convolutions, dilated 1, 2, 4, … 128; the last step is classified.

    Takes Float[n, c, t] of any length. Receptive field: 1 + 2 (`kernel` - 1)(2^`levels` - 1) steps, 3,061 by default.
    `each_step` returns logits of every step, Float[n, k, t], each of which has seen the steps up to its own.
    """
    return TCN(num_classes, in_channels, hidden, levels, kernel, dropout, each_step)


class TCN(nn.Module):
    """See `tcn`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        hidden: int,
        levels: int,
        kernel: int,
        dropout: float,
        each_step: bool,
    ) -> None:
        super().__init__()
        self.each_step = each_step
        self.blocks = nn.Sequential(
            *(Block(hidden if level else in_channels, hidden, kernel, 2**level, dropout) for level in range(levels))
        )
        self.dense = nn.Linear(hidden, num_classes)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k *t"]:
        """Logits of the last step, or of each."""
        x = self.blocks(x)
        logits: Tensor = self.dense(x.transpose(1, 2) if self.each_step else x[:, :, -1])
        return logits.transpose(1, 2) if self.each_step else logits


class Block(nn.Module):
    """Figure 1b: convolution, ReLU and dropout twice, beside x itself or a 1x1 convolution of it."""

    def __init__(self, in_channels: int, hidden: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.before = ((kernel - 1) * dilation, 0)
        convs = [nn.Conv1d(channels, hidden, kernel, dilation=dilation) for channels in (in_channels, hidden)]
        self.shortcut = nn.Conv1d(in_channels, hidden, 1) if in_channels != hidden else nn.Identity()
        for layer in (*convs, self.shortcut):
            if isinstance(layer, nn.Conv1d):
                nn.init.normal_(layer.weight, 0.0, 0.01)
        self.conv1, self.conv2 = map(weight_norm, convs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k t"]:
        """Hidden units of each step."""
        y = self.dropout(F.relu(self.conv1(F.pad(x, self.before))))
        y = self.dropout(F.relu(self.conv2(F.pad(y, self.before))))
        return F.relu(y + self.shortcut(x))
