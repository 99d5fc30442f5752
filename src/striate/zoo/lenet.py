"""LeNet-5 (LeCun, Bottou, Bengio, Haffner 1998, section II.B), as published and as taught today."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from striate.errors import InputError, did_you_mean
from striate.layers import RBF, ScaledTanh, Subsampling2d, TableConv2d
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance
from striate.zoo.registry import architecture

# Table I of the paper: the maps of S2 that each of the 16 maps of C3 sees.
C3_TABLE = (
    [[(k + j) % 6 for j in range(3)] for k in range(6)]
    + [[(k + j) % 6 for j in range(4)] for k in range(6)]
    + [[(k + j) % 6 for j in (0, 1, 3, 4)] for k in range(3)]
    + [list(range(6))]
)

# Figure 3 of the paper: the output codes of 0 to 9, drawn in 12 rows of 7 pixels (one number a row).
DIGIT_CODES = (
    (0x3E, 0x00, 0x1C, 0x36, 0x63, 0x63, 0x63, 0x63, 0x36, 0x1C, 0x00, 0x00),
    (0x0C, 0x1C, 0x3C, 0x0C, 0x0C, 0x0C, 0x0C, 0x0C, 0x0C, 0x3F, 0x00, 0x00),
    (0x3E, 0x00, 0x3E, 0x63, 0x43, 0x06, 0x1C, 0x30, 0x60, 0x7F, 0x00, 0x00),
    (0x7F, 0x03, 0x06, 0x0C, 0x1E, 0x03, 0x03, 0x03, 0x63, 0x3E, 0x00, 0x00),
    (0x3E, 0x00, 0x00, 0x33, 0x33, 0x73, 0x63, 0x63, 0x67, 0x3F, 0x03, 0x03),
    (0x3E, 0x00, 0x7F, 0x60, 0x60, 0x3C, 0x1E, 0x03, 0x63, 0x3E, 0x00, 0x00),
    (0x1E, 0x30, 0x60, 0x60, 0x7E, 0x73, 0x63, 0x63, 0x73, 0x3E, 0x00, 0x00),
    (0x7F, 0x03, 0x03, 0x06, 0x0C, 0x0C, 0x18, 0x18, 0x18, 0x18, 0x00, 0x00),
    (0x3E, 0x63, 0x63, 0x63, 0x3E, 0x63, 0x63, 0x63, 0x63, 0x3E, 0x00, 0x00),
    (0x3E, 0x67, 0x63, 0x63, 0x67, 0x3F, 0x03, 0x03, 0x06, 0x3C, 0x00, 0x00),
)
CODE_LENGTH = 7 * 12


@architecture(
    paper="LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, II.B",
    year=1998,
    input=(1, 32, 32),
    least=28,
    parameters=60_000,
    macs=415_680,
    lectures="average pooling, sigmoid or tanh; in one place dated 1989",
    note="LeNet-5 is of 1998; the first of the line, of 1989, is lenet1. The paper counts 60,000 trainable parameters "
    "and 340,908 connections (with biases, sub-sampling and only the 60 kernels of table I). The MACs here are those "
    "executed: C3 runs as a full convolution whose absent kernels are zero. The modern variant has 61,706 parameters.",
)
def lenet5(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: tuple[int, int] = (32, 32),
    variant: str | int = "1998",
    dropout: Chance = 0.0,
) -> nn.Module:
    """LeNet-5 with sparse C3, trainable sub-sampling, scaled tanh and RBF outputs (variant 1998 or modern).

    `variant="modern"` keeps the widths but has ReLU, max pooling, a full C3 and a linear output. Images
    under 32 pixels are extended at their edges to 32, as the paper does with its 28x28 digits; for larger ones C5
    covers the whole of S4. With ten classes the codes are the paper's drawn digits, else random ±1 codes (also
    the paper's proposal), always the same ones. `dropout` acts on C5 and F6 (0 in the paper).

    Raises InputError for another `variant`.
    """
    if str(variant) == "1998":
        return LeNet5(num_classes, in_channels, input_size, dropout)
    if variant == "modern":
        return ModernLeNet5(num_classes, in_channels, input_size, dropout)
    raise InputError(
        "network lenet5 has no such variant",
        expected="1998 or modern",
        got=repr(variant),
        fix=did_you_mean(str(variant), ["1998", "modern"]),
    )


class LeNet5(nn.Module):
    """The network as published; see `lenet5`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.padding = _padding(input_size)
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling2d(6)
        self.c3 = TableConv2d(6, C3_TABLE, 5)
        self.s4 = Subsampling2d(16)
        self.c5 = nn.Conv2d(16, 120, _s4_size(input_size))
        self.f6 = nn.Linear(120, CODE_LENGTH)
        self.output = RBF(output_codes(num_classes))
        self.squash = ScaledTanh()
        self.dropout = nn.Dropout(dropout)
        self._initialize()

    def _initialize(self) -> None:
        """Uniform in ±2.4/fan-in (section III.C)."""
        for layer in (self.c1, self.c5, self.f6):
            limit = 2.4 / layer.weight[0].numel()
            nn.init.uniform_(layer.weight, -limit, limit)
            nn.init.uniform_(cast(Tensor, layer.bias), -limit, limit)
        for weight, fan_in in zip(self.c3.weight, self.c3.fan_in, strict=True):
            nn.init.uniform_(weight, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits: minus the squared distance of F6 to each class's code."""
        x = F.pad(x, self.padding, "replicate")
        x = self.squash(self.c1(x))
        x = self.squash(self.s2(x))
        x = self.squash(self.c3(x))
        x = self.squash(self.s4(x))
        x = self.dropout(self.squash(self.c5(x)).flatten(1))
        x = self.dropout(self.squash(self.f6(x)))
        logits: Tensor = self.output(x)
        return logits


class ModernLeNet5(nn.Module):
    """LeNet-5's widths with today's parts; see `lenet5`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], dropout: float) -> None:
        super().__init__()
        self.padding = _padding(input_size)
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.c3 = nn.Conv2d(6, 16, 5)
        self.c5 = nn.Conv2d(16, 120, _s4_size(input_size))
        self.f6 = nn.Linear(120, CODE_LENGTH)
        self.output = nn.Linear(CODE_LENGTH, num_classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = F.pad(x, self.padding, "replicate")
        # Pooling first: it commutes with ReLU and leaves a quarter of the work.
        x = F.relu(F.max_pool2d(self.c1(x), 2))
        x = F.relu(F.max_pool2d(self.c3(x), 2))
        x = self.dropout(F.relu(self.c5(x)).flatten(1))
        x = self.dropout(F.relu(self.f6(x)))
        logits: Tensor = self.output(x)
        return logits


def output_codes(num_classes: int) -> Float[Tensor, "k c"]:
    """The ±1 codes of the classes: drawn digits for ten classes, else random but always the same."""
    if num_classes == 10:
        bits = [[row >> (6 - j) & 1 for row in digit for j in range(7)] for digit in DIGIT_CODES]
        return torch.tensor(bits, dtype=torch.float32) * 2 - 1
    generator = torch.Generator().manual_seed(1998)
    return torch.randint(0, 2, (num_classes, CODE_LENGTH), generator=generator).float() * 2 - 1


def _padding(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, right, top, bottom: what brings an image to 32 pixels."""
    (top, bottom), (left, right) = (((m := max(0, 32 - side)) // 2, m - m // 2) for side in size)
    return left, right, top, bottom


def _s4_size(size: tuple[int, int]) -> tuple[int, int]:
    """Size of S4's maps: two valid 5x5 convolutions and two halvings."""
    h, w = (((max(32, side) - 4) // 2 - 4) // 2 for side in size)
    return h, w
