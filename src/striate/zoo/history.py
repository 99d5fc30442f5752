"""The ancestors: the TDNN for speech (1987) and LeNet-1 for digits (1989)."""

from __future__ import annotations

import torch
from torch import nn

from striate.layers import ScaledTanh, Subsampling2d, TableConv2d
from striate.shapes import Float, Tensor
from striate.zoo.registry import architecture

# LeCun et al. 1990, table 1: the maps of H2 that each of the 12 maps of H3 sees; two almost separate halves.
H3_TABLE = [[base + i for i in inputs] for base in (0, 2) for inputs in ([0], [0, 1], [0, 1], [1], [0, 1], [0, 1])]


@architecture(
    paper="Waibel, Hanazawa, Hinton, Shikano, Lang 1989, Phoneme recognition using time-delay neural networks, II.A",
    year=1987,
    input=(16, 15),
    least=7,
    parameters=518,
    macs=6_072,
    published="6,233 connections",
    lectures="a bank of 16 kernels with windows of 15 elements",
    note="The report is of 1987, the paper of 1989. 16 and 15 are the input: 16 mel coefficients in 15 frames; the "
    "kernels span 3 and 5 frames. The paper's connections: 13*8*(16*3+1) + 9*3*(8*5+1) + 3*(9+1). Shared over time "
    "they are 392 + 123 + 3 parameters: an output sums its row of firings with fixed, equal weights (here one) and "
    "has a threshold.",
)
def tdnn(num_classes: int = 3, in_channels: int = 16) -> nn.Module:
    """Time-delay neural network: the first convolution over time, for the phonemes B, D and G.

    Sequences 15 -> 13 (8 units that see 3 frames) -> 9 (a unit for each class that sees 5), sigmoids throughout; the
    score of a class is the sum of its unit's firing over time. Takes any length from 7 frames on.
    """
    return TDNN(num_classes, in_channels)


class TDNN(nn.Module):
    """See `tdnn`."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.hidden1 = nn.Conv1d(in_channels, 8, 3)
        self.hidden2 = nn.Conv1d(8, num_classes, 5)
        self.threshold = nn.Parameter(torch.zeros(num_classes))

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits: what the paper's output units put through their sigmoid."""
        x = self.hidden2(self.hidden1(x).sigmoid()).sigmoid()
        return x.sum(2) - self.threshold


@architecture(
    paper="LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel 1990, Handwritten digit recognition with a "
    "back-propagation network (NIPS 1989), section 4",
    year=1989,
    input=(1, 28, 28),
    least=16,
    parameters=2_578,
    macs=136_320,
    published="2,578 (98,442 connections)",
    note="The MACs here are those executed: H3 runs as a full convolution whose absent kernels are zero. The paper "
    "says only that a squashing function follows; here it is LeNet-5's.",
)
def lenet1(num_classes: int = 10, in_channels: int = 1, input_size: tuple[int, int] = (28, 28)) -> nn.Module:
    """LeNet-1: two 5x5 convolutions of 4 and 12 maps (the second sparse), trainable sub-sampling, one dense layer.

    Maps 28 -> 24 -> 12 -> 8 -> 4, then 192 values. Weights uniform in ±2.4/fan-in, as in LeNet-5.
    """
    return LeNet1(num_classes, in_channels, input_size)


class LeNet1(nn.Module):
    """See `lenet1`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        h, w = (((side - 4) // 2 - 4) // 2 for side in input_size)
        self.h1 = nn.Conv2d(in_channels, 4, 5)
        self.h2 = Subsampling2d(4)
        self.h3 = TableConv2d(4, H3_TABLE, 5)
        self.h4 = Subsampling2d(12)
        self.output = nn.Linear(12 * h * w, num_classes)
        self.squash = ScaledTanh()
        for weight, fan_in in (
            (self.h1.weight, 25 * in_channels),
            *zip(self.h3.weight, self.h3.fan_in, strict=True),
            (self.output.weight, 12 * h * w),
        ):
            nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = self.squash(self.h2(self.squash(self.h1(x))))
        x = self.squash(self.h4(self.squash(self.h3(x))))
        logits: Tensor = self.output(x.flatten(1))
        return logits
