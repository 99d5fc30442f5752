"""SqueezeNet (Iandola et al. 2016): AlexNet's accuracy with fifty times fewer parameters."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from striate.layers.initialization import initialize_gaussian, initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

# First convolution (channels, kernel), then numbers of fire modules' squeeze maps; P: 3x3 max pooling of stride 2.
# A fire module expands four times to 1x1 and four times to 3x3 maps.
V1_0 = (96, 7, "P 16 16 32 P 32 48 48 64 P 64")
V1_1 = (64, 3, "P 16 16 P 32 32 P 48 48 64 64")


@architecture(
    paper="Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, table 1",
    year=2016,
    input=(3, 224, 224),
    least=21,
    parameters=1_248_424,
    macs=818_924_576,
    published="1,248,424",
    note="The table's first map of 111x111 needs images of 227 pixels; 224, as the table has them, give 109.",
)
def squeezenet1_0(
    num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5
) -> nn.Module:
    """A 7x7 convolution, eight fire modules (1x1 squeeze, 1x1 and 3x3 expand) and a 1x1 convolution to the classes.

    Maps 224 -> 109 -> 54 -> 27 -> 13 with 96 to 512 channels, then the global average. Takes images of any size from 21
    pixels on. `width` multiplies all channels. Takes torchvision's weights. Initialized as there, too: He (uniform),
    the last convolution Gaussian 0.01, biases zero.
    """
    return SqueezeNet(V1_0, num_classes, in_channels, width, dropout)


@architecture(
    paper="Iandola et al. 2016, SqueezeNet, the authors' published version 1.1",
    year=2016,
    input=(3, 224, 224),
    least=17,
    parameters=1_235_496,
    macs=349_151_936,
    note="In the authors' code, not in the paper.",
)
def squeezenet1_1(
    num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5
) -> nn.Module:
    """SqueezeNet with a 3x3 first convolution and earlier pooling: less than half of the work.

    Maps 224 -> 111 -> 55 -> 27 -> 13. Takes images of any size from 17 pixels on. Options as in `squeezenet1_0`.
    """
    return SqueezeNet(V1_1, num_classes, in_channels, width, dropout)


class Fire(nn.Module):
    """1x1 convolution to few maps, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """Maps of both expansions."""
        x = self.squeeze(x).relu()
        return torch.cat((self.expand1x1(x).relu(), self.expand3x3(x).relu()), 1)


class SqueezeNet(nn.Module):
    """See `squeezenet1_0`."""

    def __init__(
        self, version: tuple[int, int, str], num_classes: int, in_channels: int, width: float, dropout: float
    ) -> None:
        super().__init__()
        first, kernel, modules = version
        channels = scaled(first, width)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, channels, kernel, 2), nn.ReLU()]
        for entry in modules.split():
            if entry == "P":
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                squeeze, expand = (scaled(factor * int(entry), width) for factor in (1, 4))
                layers.append(Fire(channels, squeeze, expand))
                channels = 2 * expand
        self.features = nn.Sequential(*layers)
        last = nn.Conv2d(channels, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.apply(partial(initialize_he, uniform=True))
        initialize_gaussian(last, std=0.01)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits, none below zero: the paper's last convolution has a ReLU."""
        logits: Tensor = self.classifier(self.features(x)).flatten(1)
        return logits
