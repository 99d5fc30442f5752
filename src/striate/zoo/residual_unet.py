"""A very deep U-Net with short and long skip connections (Drozdzal, Vorontsov, Chartrand, Kadoury, Pal 2016)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from striate.layers.fit import crop
from striate.layers.initialization import initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

# Channels and repetitions of the stages of bottleneck blocks (Down 3 to Down 5 and Across in the paper's table).
STAGES, ACROSS = ((128, 3), (256, 8), (512, 10)), (1024, 3)


@architecture(
    paper="Drozdzal, Vorontsov, Chartrand, Kadoury, Pal 2016, The Importance of Skip Connections in Biomedical Image "
    "Segmentation, table 1",
    year=2016,
    input=(1, 512, 512),
    output=(1, 512, 512),
    least=1,
    parameters=11_451_745,
    macs=19_545_456_640,
    note="Long skips are summed; where the numbers of channels differ, a 1x1 convolution of the decoder's maps adapts "
    "them, as in the authors' code. The last sum, with the first convolution, follows the last 3x3 convolution. No "
    "dropout by default: the table gives none.",
)
def residual_unet(
    num_classes: int = 1,
    in_channels: int = 1,
    width: Width = 1.0,
    dropout: Chance = 0.0,
) -> nn.Module:
    """A U-Net of pre-activated residual blocks, three to ten bottlenecks a stage, whose long skips are sums.

    Maps 512 -> 256 -> 128 -> 64 -> 32 -> 16 and back: the first block of a stage halves on the way down, the last one
    doubles (repeating values) on the way up. Takes images of any size; doubled maps are cropped where a side is odd.
    `width` multiplies the channels; `dropout` ends each block.
    """
    return ResidualUNet(num_classes, in_channels, width, dropout)


class ResidualUNet(nn.Module):
    """See `residual_unet`."""

    def __init__(self, num_classes: int, in_channels: int, width: float, dropout: float) -> None:
        super().__init__()
        first = scaled(32, width)
        stages = [(max(4, 4 * round(channels * width / 4)), repeats) for channels, repeats in STAGES]
        wide, repeats = max(4, 4 * round(ACROSS[0] * width / 4)), ACROSS[1]
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1)
        self.down = nn.ModuleList([Simple(first, first, dropout, halve=True)])
        before = first
        for channels, times in stages:
            self.down.append(_bottlenecks(before, channels, times, dropout, halve=True))
            before = channels
        self.across = _bottlenecks(before, wide, repeats, dropout, halve=True, double=True)
        before = wide
        self.adapt, self.up = nn.ModuleList(), nn.ModuleList()
        for channels, times in reversed(stages):
            self.adapt.append(_adapting(before, channels))
            self.up.append(_bottlenecks(channels, channels, times, dropout, double=True))
            before = channels
        self.adapt.append(_adapting(before, first))
        self.up.append(Simple(first, first, dropout, double=True))
        self.conv2 = nn.Conv2d(first, first, 3, padding=1)
        self.norm = nn.BatchNorm2d(first)
        self.score = nn.Conv2d(first, num_classes, 1)
        self.apply(initialize_he)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        """Logits of each pixel."""
        start = self.conv1(x)
        x, copies = start, []
        for stage in self.down:
            x = stage(x)
            copies.append(x)
        x = self.across(x)
        for adapt, stage in zip(self.adapt, self.up, strict=True):
            copy = copies.pop()
            x = stage(crop(adapt(x), copy.shape[2:], 0) + copy)
        x = self.conv2(crop(x, start.shape[2:], 0)) + start
        logits: Tensor = self.score(F.relu(self.norm(x)))
        return logits


class Block(nn.Module):
    """What the blocks share: a shortcut, halved, doubled and projected as the block's own path is.

    A block first halves (keeping the rest of an odd side), last doubles.
    """

    def __init__(self, in_channels: int, channels: int, halve: bool, double: bool) -> None:
        super().__init__()
        self.halves, self.doubles = halve, double
        self.project = _adapting(in_channels, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        """The block's maps."""
        shortcut = x[:, :, ::2, ::2] if self.halves else x
        shortcut = self.project(_doubled(shortcut) if self.doubles else shortcut)
        y: Tensor = self.path(x) + shortcut
        return y

    def path(self, x: Tensor) -> Tensor:
        """Beside the shortcut."""
        raise NotImplementedError


class Bottleneck(Block):
    """Norm, ReLU and convolution three times: 1x1 to a quarter of the channels, 3x3, 1x1 (figure 1b)."""

    def __init__(
        self, in_channels: int, channels: int, dropout: float, halve: bool = False, double: bool = False
    ) -> None:
        super().__init__(in_channels, channels, halve, double)
        narrow = channels // 4
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, narrow, 1, stride=1 + halve)
        self.norm2 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(narrow)
        self.conv3 = nn.Conv2d(narrow, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def path(self, x: Tensor) -> Tensor:
        """Beside the shortcut."""
        x = self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))
        x = F.relu(self.norm3(x))
        y: Tensor = self.dropout(self.conv3(_doubled(x) if self.doubles else x))
        return y


class Simple(Block):
    """Norm, ReLU and one 3x3 convolution (figure 1d), after max pooling where it halves."""

    def __init__(
        self, in_channels: int, channels: int, dropout: float, halve: bool = False, double: bool = False
    ) -> None:
        super().__init__(in_channels, channels, halve, double)
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(dropout)

    def path(self, x: Tensor) -> Tensor:
        """Beside the shortcut."""
        x = F.relu(self.norm(x))
        x = self.dropout(self.conv(F.max_pool2d(x, 2, ceil_mode=True) if self.halves else x))
        return _doubled(x) if self.doubles else x


def _bottlenecks(
    in_channels: int, channels: int, repeats: int, dropout: float, halve: bool = False, double: bool = False
) -> nn.Sequential:
    """Blocks in a row, of which the first halves and the last doubles."""
    blocks = nn.Sequential()
    for number in range(repeats):
        first, last = number == 0, number == repeats - 1
        blocks.append(Bottleneck(in_channels, channels, dropout, halve and first, double and last))
        in_channels = channels
    return blocks


def _adapting(in_channels: int, channels: int) -> nn.Module:
    return nn.Conv2d(in_channels, channels, 1) if in_channels != channels else nn.Identity()


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
