"""Residual networks for CIFAR-10 and their plain twins (He et al. 2015, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import initialize_he
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture
from striate.zoo.resnet import stage

# Layers: parameters, MACs, and the parameters that table 6 of the paper states.
TABLE = {
    20: (269_722, 40_551_040, "0.27M"),
    32: (464_154, 68_862_592, "0.46M"),
    44: (658_586, 97_174_144, "0.66M"),
    56: (853_018, 125_485_696, "0.85M"),
    110: (1_727_962, 252_887_680, "1.7M"),
}


class CifarResNet(nn.Module):
    """A 3x3 convolution, three stages of blocks at 1, 1/2 and 1/4 of the size, global average, one dense layer.

    With `shortcuts` a block adds its input; without, it is plain. Parameters and MACs are the same.
    """

    def __init__(self, layers: int, shortcuts: bool, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        widths = [scaled(channels, width) for channels in (16, 32, 64)]
        depth = (layers - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        block = partial(CifarBlock, shortcut=shortcuts)
        self.layer1 = stage(block, widths[0], widths[0], 1, depth)
        self.layer2 = stage(block, widths[0], widths[1], 2, depth)
        self.layer3 = stage(block, widths[1], widths[2], 2, depth)
        self.apply(partial(initialize_he, mode="fan_out"))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, with or without a shortcut that has no parameters."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = PaddedIdentity(out_channels - in_channels, stride) if shortcut else None

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d v u"]:
        """Maps of the next block."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y if self.shortcut is None else y + self.shortcut(x))


class PaddedIdentity(nn.Module):
    """Every `stride`-th pixel, between `added` channels of zeros (option A of the paper)."""

    def __init__(self, added: int, stride: int) -> None:
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d v u"]:
        """The input in the shape of the output."""
        before = self.added // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before))


def _define(layers: int, shortcuts: bool) -> Callable[..., nn.Module]:
    """Register the network of so many layers."""
    parameters, macs, published = TABLE[layers]

    def network(num_classes: int = 10, in_channels: int = 3, width: Width = 1.0) -> nn.Module:
        return CifarResNet(layers, shortcuts, num_classes, in_channels, width)

    blocks = (layers - 2) // 2
    first = (
        f"CIFAR-10 residual network of {blocks} blocks of two 3x3 convolutions, shortcuts without parameters."
        if shortcuts
        else f"Twin of `resnet{layers}` without shortcuts, whose training error shows degradation with depth."
    )
    network.__doc__ = f"""{first}

    Maps 32 -> 16 -> 8 with 16, 32, 64 channels, then the global average. `width` multiplies all channels. Batch norm
    after each convolution; He initialization. An image of any size is taken.
    """
    network.__name__ = f"resnet{layers}" if shortcuts else f"plain{layers}"
    return architecture(
        paper="He, Zhang, Ren, Sun 2015, Deep residual learning for image recognition, section 4.2 and table 6",
        year=2015,
        input=(3, 32, 32),
        least=1,
        parameters=parameters,
        macs=macs,
        published=published if shortcuts else f"that of resnet{layers}: {published}",
        note="Shortcuts of option A add neither parameters nor MACs: the residual and the plain network have the same. "
        "The paper does not say where the zero channels stand; here half of them on either side, as in the most used "
        "port to PyTorch, whose trained weights therefore fit.",
    )(network)


for _layers in TABLE:
    _define(_layers, shortcuts=True)
for _layers in TABLE:
    _define(_layers, shortcuts=False)
