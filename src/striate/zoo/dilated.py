"""Dilated convolutions for dense prediction (Yu, Koltun 2016): a VGG-16 front end and the context module."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import initialize_he
from striate.layers.stage import conv_stage
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture
from striate.zoo.vgg import VGG16

# Table 1: the dilations of the context module's convolutions, and their channels in multiples of the classes.
DILATIONS = (1, 1, 2, 4, 8, 16, 1)
BASIC, LARGE = (1,) * 7, (2, 2, 4, 8, 16, 32, 32)
# What the front end and the context module take from each side of the image.
MARGIN = 186


@architecture(
    paper="Yu, Koltun 2016, Multi-Scale Context Aggregation by Dilated Convolutions, sections 3-4 and table 1",
    year=2016,
    input=(3, 900, 900),
    output=(21, 66, 66),
    least=380,
    parameters=134_374_973,
    macs=791_684_600_832,
    lectures="always 3x3 dilated, no pooling",
    note="The lectures' words hold for the context module. The front end pads nothing; the authors mirror an image of "
    "528 pixels to 900 (`mirror` does so) and get 66 scores, one for each 8 pixels. The context module pads each of "
    "its convolutions, as for training; their network for PASCAL pads the first one by the sum of all.",
)
def dilated_context(
    num_classes: int = 21,
    in_channels: int = 3,
    context: Literal["basic", "large", "none"] = "basic",
    mirror: bool = False,
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """VGG-16 with dilated convolutions in place of its last two poolings, and a module that sees ever wider context.

    Maps 900 -> 448 -> 222 -> 108 (pooled three times) -> 102 -> 90 (dilation 2) -> 66 (fc6, dilation 4); the context
    module's seven 3x3 convolutions see 3, 5, 9, 17, 33, 65 and 67 of those and start as the identity. `context` is
    the paper's basic or large form (or none: the front end alone), `mirror` adds 186 mirrored pixels on each side,
    `width` multiplies the front end's channels.
    """
    front_end = FrontEnd(num_classes, in_channels, mirror, width, dropout)
    if context == "none":
        return front_end
    return nn.Sequential(front_end, ContextModule(num_classes, BASIC if context == "basic" else LARGE))


class FrontEnd(nn.Module):
    """VGG-16 without padding, pool4, pool5; what came after them is dilated by 2 and 4. See `dilated_context`."""

    def __init__(self, num_classes: int, in_channels: int, mirror: bool, width: float, dropout: float) -> None:
        super().__init__()
        self.margin = MARGIN * mirror
        self.stages = nn.ModuleList()
        for stage, dilation in zip(VGG16, (1, 1, 1, 1, 2), strict=True):
            widths = [scaled(channels, width) for channels in stage]
            self.stages.append(conv_stage(in_channels, widths, padding=0, dilation=dilation))
            in_channels = widths[-1]
        hidden = scaled(4096, width)
        self.fc6 = nn.Conv2d(in_channels, hidden, 7, dilation=4)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(hidden, num_classes, 1)
        self.apply(initialize_he)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h2 w2"]:
        """Logits, one for each 8 pixels."""
        if self.margin:
            x = F.pad(x, (self.margin,) * 4, "reflect")
        for number, stage in enumerate(self.stages):
            x = stage(x)
            x = F.max_pool2d(x, 2) if number < 3 else x
        x = self.dropout(F.relu(self.fc6(x)))
        logits: Tensor = self.score(self.dropout(F.relu(self.fc7(x))))
        return logits


class ContextModule(nn.Module):
    """Seven dilated 3x3 convolutions with ReLU and a 1x1 one, from class scores to class scores of the same size.

    `multiples` are the widths in multiples of `num_classes`. Starts as the identity where all are 1, else as one up
    to small noise that tells the copies of a class apart (section 3, equations 4 and 5).
    """

    def __init__(self, num_classes: int, multiples: tuple[int, ...] = BASIC) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = num_classes
        for dilation, multiple in zip(DILATIONS, multiples, strict=True):
            channels = multiple * num_classes
            layers += [nn.Conv2d(before, channels, 3, padding=dilation, dilation=dilation), nn.ReLU()]
            before = channels
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, num_classes, 1))
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                initialize_identity(layer, num_classes)

    def forward(self, x: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k h w"]:
        """Logits that know their context."""
        logits: Tensor = self.layers(x)
        return logits


def initialize_identity(layer: nn.Conv2d, groups: int) -> None:
    """Let each output channel take the input channels of its own group at the kernel's center, times 1/copies.

    The channels are split into `groups` in order; `copies` is the number of output channels in each. Where a group
    has several channels, all other weights are Gaussian noise of deviation 0.01/copies, which tells them apart.
    """
    out_channels, in_channels, *kernel = layer.weight.shape
    weight = torch.zeros_like(layer.weight)
    if max(out_channels, in_channels) > groups:
        nn.init.normal_(weight, std=0.01 * groups / out_channels)
    same = torch.arange(out_channels)[:, None] * groups // out_channels
    same = same == torch.arange(in_channels) * groups // in_channels
    center = weight[:, :, kernel[0] // 2, kernel[1] // 2]
    weight[:, :, kernel[0] // 2, kernel[1] // 2] = torch.where(same.to(weight.device), groups / out_channels, center)
    with torch.no_grad():
        layer.weight.copy_(weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
