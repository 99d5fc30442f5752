"""Network in network (Lin, Chen, Yan 2014): small multi-layer perceptrons slid over the image, then global average."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import nn

from striate.layers.initialization import initialize_gaussian
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture

PAPER = "Lin, Chen, Yan 2014, Network in network"


class Block(NamedTuple):
    """A convolution and two 1x1 ones, each with ReLU (an "mlpconv"), then pooling and dropout."""

    maps: tuple[int, int, int]
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: Literal["max", "mean", ""] = ""
    drop: bool = False
    std: tuple[float, float, float] = (0.05, 0.05, 0.05)


# The last convolution of the last block has a map for each class.
IMAGENET = (
    Block((96, 96, 96), 11, stride=4, pool="max", std=(0.01, 0.05, 0.05)),
    Block((256, 256, 256), 5, padding=2, pool="max"),
    Block((384, 384, 384), 3, padding=1, pool="max", drop=True, std=(0.01, 0.05, 0.05)),
    Block((1024, 1024, 0), 3, padding=1, std=(0.05, 0.05, 0.01)),
)
CIFAR = (
    Block((192, 160, 96), 5, padding=2, pool="max", drop=True),
    Block((192, 192, 192), 5, padding=2, pool="mean", drop=True),
    Block((192, 192, 0), 3, padding=1),
)


@architecture(
    paper=f"{PAPER}, the authors' published ImageNet model",
    year=2014,
    input=(3, 224, 224),
    least=39,
    parameters=7_595_176,
    macs=1_100_188_800,
    note="The paper has no ImageNet network; this is the one that its first author published. Its pooling keeps the "
    "incomplete last window.",
)
def nin(num_classes: int = 1000, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """Four blocks of one convolution and two 1x1 convolutions; the last has a map for each class, which is averaged.

    Maps 224 -> 54 -> 27 -> 13 -> 6 with 96, 256, 384 and 1,024 channels. Takes images of any size from 39 pixels on.
    `width` multiplies channels, `dropout` acts before the last block. Gaussian weights as published, biases zero.
    """
    return NIN(IMAGENET, num_classes, in_channels, width, dropout)


@architecture(
    paper=f"{PAPER}, section 4.2 (CIFAR-10) with the widths of the authors' code",
    year=2014,
    input=(3, 32, 32),
    least=4,
    parameters=966_986,
    macs=222_486_528,
    note="The paper gives no widths; they are those of the authors' code, as is the second pooling, a mean (the text "
    "says maximum).",
)
def nin_cifar(num_classes: int = 10, in_channels: int = 3, width: Width = 1.0, dropout: Chance = 0.5) -> nn.Module:
    """Network in network for small images: three blocks, without a dense layer.

    Maps 32 -> 16 -> 8 with 192 channels. Takes images of any size from 4 pixels on. Options as in `nin`.
    """
    return NIN(CIFAR, num_classes, in_channels, width, dropout)


class NIN(nn.Module):
    """Blocks by a table; see `nin`."""

    def __init__(
        self, blocks: tuple[Block, ...], num_classes: int, channels: int, width: float, dropout: float
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in blocks:
            first, second, third = (scaled(maps, width) if maps else num_classes for maps in block.maps)
            convolutions = (
                nn.Conv2d(channels, first, block.kernel, block.stride, block.padding),
                nn.Conv2d(first, second, 1),
                nn.Conv2d(second, third, 1),
            )
            for convolution, std in zip(convolutions, block.std, strict=True):
                initialize_gaussian(convolution, std)
                layers += [convolution, nn.ReLU()]
            if block.pool:
                layers.append((nn.MaxPool2d if block.pool == "max" else nn.AvgPool2d)(3, 2, ceil_mode=True))
            if block.drop:
                layers.append(nn.Dropout(dropout))
            channels = third
        self.features = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits, none below zero: the last convolution, too, has a ReLU."""
        maps: Tensor = self.features(x)
        return maps.mean((2, 3))
