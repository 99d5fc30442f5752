"""AlexNet in its three published forms, and ZFNet: five convolutions, overlapping pooling, three dense layers."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from torch import nn

from striate.layers.initialization import initialize_gaussian
from striate.layers.normalization import response_norm
from striate.shapes import Float, Tensor
from striate.zoo.options import Chance, Width
from striate.zoo.registry import architecture


class Stage(NamedTuple):
    """One convolution and ReLU, then response normalization and 3x3 pooling of stride 2 in the order of `after`."""

    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    after: str = ""


# Krizhevsky, Sutskever, Hinton 2012: figure 2 and section 3 (the network normalizes first, then pools).
ALEXNET = (
    Stage(96, 11, stride=4, after="norm pool"),
    Stage(256, 5, padding=2, after="norm pool"),
    Stage(384, 3, padding=1),
    Stage(384, 3, padding=1),
    Stage(256, 3, padding=1, after="pool"),
)
# Layers whose biases start at one (section 5): convolutions 2, 4 and 5 and the hidden dense layers.
ONES = (1, 3, 4, 5, 6)
# The third layer alone reads the maps of both GPUs.
GROUPED = tuple(stage._replace(groups=2) if i in (1, 3, 4) else stage for i, stage in enumerate(ALEXNET))
ONE_TOWER = (
    Stage(64, 11, stride=4, padding=2, after="pool"),
    Stage(192, 5, padding=2, after="pool"),
    Stage(384, 3, padding=1),
    Stage(256, 3, padding=1),
    Stage(256, 3, padding=1, after="pool"),
)
# Zeiler and Fergus 2014, figure 3 (the network pools first, then normalizes).
ZFNET = (
    Stage(96, 7, stride=2, padding=1, after="pool norm"),
    Stage(256, 5, stride=2, after="pool norm"),
    *ALEXNET[2:],
)


@architecture(
    paper="Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep CNNs, section 3 and figure 2",
    year=2012,
    input=(3, 227, 227),
    least=67,
    parameters=62_378_344,
    macs=1_135_256_096,
    published="60 million",
    lectures="62.3 million, 6 % of them in convolutions",
    note="Without the split on two GPUs, which leaves out 1,413,120 weights: see alexnet_grouped, to which the paper's "
    "60 million belong. The paper says 224x224, but its 55x55 maps need 227 (or padding). The lectures cut 62.378 to "
    "62.3, pool before they normalize, and print a second row of MAX POOL3 before CONV5, which is not in the paper.",
)
def alexnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (227, 227),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Five convolutions with ReLU, response normalization and overlapping pooling, three dense layers (ungrouped).

    Maps 227 -> 55 -> 27 -> 13 -> 6 with 96, 256, 384, 384 and 256 channels, then 9,216 values, 4,096 and 4,096.
    `width` multiplies channels and hidden units (rounded to even numbers), `dropout` acts on the outputs of both hidden
    dense layers. For another `input_size` the first dense layer is as wide as the last map is large.
    Initialized as in the paper: Gaussian 0.01; biases one in the second, fourth and fifth convolution and the hidden
    dense layers, else zero.
    """
    return AlexNet(ALEXNET, num_classes, in_channels, input_size, width, dropout, ones=ONES)


@architecture(
    paper="Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep CNNs, section 3.2 and figure 2",
    year=2012,
    input=(3, 227, 227),
    least=67,
    parameters=60_965_224,
    macs=724_406_816,
    published="60 million",
    lectures="62.3 million, 6 % of them in convolutions",
    note="The lectures count the ungrouped network (62,378,344). The paper leaves open whether response normalization "
    "crosses from one GPU's maps to the other's; here it does.",
)
def alexnet_grouped(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (227, 227),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """AlexNet as it ran on two GPUs: the second, fourth and fifth convolution see half of the maps each.

    Maps and options as in `alexnet`.
    """
    return AlexNet(GROUPED, num_classes, in_channels, input_size, width, dropout, ones=ONES)


@architecture(
    paper="Krizhevsky 2014, One weird trick for parallelizing CNNs, section 5 (the one-tower network)",
    year=2014,
    input=(3, 224, 224),
    least=63,
    parameters=61_100_840,
    macs=714_188_480,
    note="Takes torchvision's weights of alexnet. At other sizes torchvision averages the last map to 6x6; here the "
    "first dense layer follows the map.",
)
def alexnet_owt(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """AlexNet in one tower of 64, 192, 384, 256 and 256 channels, without normalization.

    Maps 224 -> 55 -> 27 -> 13 -> 6. Options as in `alexnet`; PyTorch's default initialization.
    """
    return AlexNet(ONE_TOWER, num_classes, in_channels, input_size, width, dropout, std=None, drop_first=True)


@architecture(
    paper="Zeiler, Fergus 2014, Visualizing and understanding convolutional networks, figure 3",
    year=2014,
    input=(3, 224, 224),
    least=47,
    parameters=62_357_608,
    macs=1_168_032_896,
    lectures="cited for visualization, as of ICML 2013 (it is ECCV 2014)",
    note="The figure's maps (110, 55, 26, 13, 6) need a padding of 1 at the first convolution and pooling that keeps "
    "an incomplete last window. The paper names no constants of its contrast normalization across maps; here it is "
    "AlexNet's response normalization.",
)
def zfnet(
    num_classes: int = 1000,
    in_channels: int = 3,
    input_size: tuple[int, int] = (224, 224),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """AlexNet with a finer start: 7x7 filters of stride 2, then 5x5 of stride 2, so that the first maps keep detail.

    Maps 224 -> 110 -> 55 -> 26 -> 13 -> 6. Options as in `alexnet`. Weights Gaussian 0.01, biases zero.
    """
    return AlexNet(ZFNET, num_classes, in_channels, input_size, width, dropout, ceil=True)


class AlexNet(nn.Module):
    """Convolutions by a table of stages, then three dense layers; see `alexnet`.

    Weights start Gaussian of deviation `std` (None: as PyTorch's do), biases at zero or, in the layers `ones`, at one.
    `drop_first` puts each dropout before its dense layer (torchvision's order) instead of after its ReLU; `ceil` keeps
    the incomplete last windows of pooling.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...],
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        width: float,
        dropout: float,
        *,
        std: float | None = 0.01,
        ones: tuple[int, ...] = (),
        drop_first: bool = False,
        ceil: bool = False,
    ) -> None:
        super().__init__()
        self.features = _features(stages, in_channels, width, ceil)
        size = math.prod(_last_side(stages, side, ceil) for side in input_size)
        hidden = _even(4096 * width)
        sizes = (_even(stages[-1].maps * width) * size, hidden, hidden)
        layers: list[nn.Module] = []
        for a, b in pairwise(sizes):
            dense = [nn.Linear(a, b), nn.ReLU()]
            layers += [nn.Dropout(dropout), *dense] if drop_first else [*dense, nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*layers, nn.Linear(hidden, num_classes))
        if std is not None:
            self.apply(partial(initialize_gaussian, std=std))
            weighted = [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
            for i in ones:
                nn.init.ones_(weighted[i].bias)  # type: ignore[arg-type]  # each has one

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def _features(stages: tuple[Stage, ...], channels: int, width: float, ceil: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for stage in stages:
        maps = _even(stage.maps * width)
        layers.append(nn.Conv2d(channels, maps, stage.kernel, stage.stride, stage.padding, groups=stage.groups))
        layers.append(nn.ReLU())
        after = {"norm": response_norm(), "pool": nn.MaxPool2d(3, 2, ceil_mode=ceil)}
        layers += [after[name] for name in stage.after.split()]
        channels = maps
    return nn.Sequential(*layers)


def _last_side(stages: tuple[Stage, ...], side: int, ceil: bool) -> int:
    """Side of the last map."""
    for stage in stages:
        side = (side + 2 * stage.padding - stage.kernel) // stage.stride + 1
        if "pool" in stage.after:
            side = (side - 3 + ceil) // 2 + 1
    return side


def _even(number: float) -> int:
    """The nearest even number, so that two groups share it."""
    return 2 * max(1, round(number / 2))
