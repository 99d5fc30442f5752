"""V-Net (Milletari, Navab, Ahmadi 2016): residual stages of volumetric convolutions."""

from __future__ import annotations

import torch
from torch import nn

from striate.layers.fit import pad
from striate.layers.initialization import initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

# Channels and number of convolutions of each stage, from the finest to the coarsest.
STAGES = ((16, 1), (32, 2), (64, 3), (128, 3), (256, 3))


@architecture(
    paper="Milletari, Navab, Ahmadi 2016, V-Net: Fully Convolutional Neural Networks for Volumetric Medical Image "
    "Segmentation, figure 2 and table 1",
    year=2016,
    input=(1, 128, 128, 64),
    output=(2, 128, 128, 64),
    least=16,
    parameters=65_175_314,
    macs=502_142_074_880,
    lectures="reference only",
    note="The numbers of convolutions (1, 2, 3, 3, 3) are those that give table 1's receptive fields; the authors' "
    "published Caffe file has 1, 1, 2, 3, 3 and a 5x5x5 convolution before the output. In the right half the table "
    "counts each up-convolution as two positions wide, though each of its outputs reads one: the fields are smaller.",
)
def vnet(num_classes: int = 2, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """A U-Net for volumes with 5x5x5 convolutions, stages that learn residuals, strided convolutions and PReLU.

    Volumes of 128 -> 64 -> 32 -> 16 -> 8 and back; channels 16 to 256. Where a side is odd, the doubled volume gets
    zeros at its end. `width` multiplies the channels.
    """
    return VNet(num_classes, in_channels, width)


class VNet(nn.Module):
    """See `vnet`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        stages = [(scaled(channels, width), depth) for channels, depth in STAGES]
        self.left, self.down = nn.ModuleList(), nn.ModuleList()
        self.up, self.right = nn.ModuleList(), nn.ModuleList()
        before = in_channels
        for channels, depth in stages:
            if self.left:
                self.down.append(nn.Sequential(nn.Conv3d(before, channels, 2, stride=2), nn.PReLU(channels)))
                before = channels
            self.left.append(Stage(before, channels, depth))
            before = channels
        for channels, depth in reversed(stages[:-1]):
            self.up.append(nn.Sequential(nn.ConvTranspose3d(before, channels, 2, stride=2), nn.PReLU(channels)))
            before = 2 * channels
            self.right.append(Stage(before, before, depth))
        self.score = nn.Conv3d(before, num_classes, 1)
        self.apply(initialize_he)

    def forward(self, x: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n k d h w"]:
        """Logits of each position."""
        copies = [self.left[0](x)]
        for down, stage in zip(self.down, list(self.left)[1:], strict=True):
            copies.append(stage(down(copies[-1])))
        x = copies.pop()
        for up, stage in zip(self.up, self.right, strict=True):
            copy = copies.pop()
            x = stage(torch.cat((pad(up(x), copy.shape[2:]), copy), 1))
        logits: Tensor = self.score(x)
        return logits


class Stage(nn.Module):
    """Some 5x5x5 convolutions, whose result is added to the stage's input; PReLU after each and after the sum.

    Where the stage has more channels than its input, the input's are repeated in turn.
    """

    def __init__(self, in_channels: int, channels: int, depth: int) -> None:
        super().__init__()
        self.channels = channels
        layers: list[nn.Module] = []
        for number in range(depth):
            layers.append(nn.Conv3d(channels if number else in_channels, channels, 5, padding=2))
            layers += [nn.PReLU(channels)] * (number + 1 < depth)
        self.layers = nn.Sequential(*layers)
        self.activation = nn.PReLU(channels)

    def forward(self, x: Float[Tensor, "n c d h w"]) -> Float[Tensor, "n c2 d h w"]:
        """The stage's volumes."""
        times = -(-self.channels // x.shape[1])
        shortcut = x if times == 1 else x.repeat(1, times, 1, 1, 1)
        y: Tensor = self.activation(self.layers(x) + shortcut[:, : self.channels])
        return y
