"""Three strong baselines for classifying time series (Wang, Yan, Oates 2017), with the code of Fawaz et al. 2019."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers.initialization import initialize_keras
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.options import Width, scaled
from striate.zoo.registry import architecture

PAPER = "Wang, Yan, Oates 2017, Time series classification from scratch with deep neural networks, figure 1"
# The first data set of the paper's table.
NOTE = "The sizes of input and output are those of Adiac, the first of the paper's 44 data sets: 176 steps, 37 classes."


@architecture(paper=PAPER, year=2017, input=(1, 176), least=1, parameters=608_037, macs=606_500, note=NOTE)
def ts_mlp(
    num_classes: int = 37,
    in_channels: int = 1,
    input_size: tuple[int, ...] = (176,),
    width: Width = 1.0,
    dropout: Annotated[float, Between(0, 3)] = 1.0,
) -> nn.Module:
    """Three hidden layers of 500 units over the whole series, with dropout before each layer.

    `width` multiplies the units, `dropout` the paper's probabilities (0.1, 0.2, 0.2 and 0.3 before the last layer).
    """
    units = scaled(500, width)
    layers: list[nn.Module] = [nn.Flatten()]
    features = in_channels * input_size[0]
    for probability in (0.1, 0.2, 0.2):
        layers += [nn.Dropout(dropout * probability), nn.Linear(features, units), nn.ReLU()]
        features = units
    net = nn.Sequential(*layers, nn.Dropout(dropout * 0.3), nn.Linear(units, num_classes))
    return net.apply(initialize_keras)


@architecture(
    paper=PAPER,
    year=2017,
    input=(1, 176),
    least=1,
    parameters=269_477,
    macs=46_322_304,
    note=NOTE,
)
def ts_fcn(num_classes: int = 37, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """Three convolutions (128, 256, 128 maps over 8, 5, 3 steps) with batch norm, the mean over time, one dense layer.

    Keeps the number of steps, so takes series of any length; the even kernel has one more zero at the end than at the
    start, as in Keras. `width` multiplies the maps.
    """
    return SeriesFCN(num_classes, in_channels, width)


class SeriesFCN(nn.Module):
    """See `ts_fcn`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        first, second, third = (scaled(maps, width) for maps in (128, 256, 128))
        self.features = nn.Sequential(
            *_convolution(in_channels, first, 8),
            nn.ReLU(),
            *_convolution(first, second, 5),
            nn.ReLU(),
            *_convolution(second, third, 3),
            nn.ReLU(),
        )
        self.dense = nn.Linear(third, num_classes)
        self.apply(initialize_keras)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.dense(self.features(x).mean(2))
        return logits


@architecture(
    paper=PAPER,
    year=2017,
    input=(1, 176),
    least=1,
    parameters=508_773,
    macs=88_055_424,
    note=NOTE
    + " The paper does not say what the shortcuts are: as in the code, a 1x1 convolution and batch norm where "
    "the maps change, else batch norm alone.",
)
def ts_resnet(num_classes: int = 37, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """Three residual blocks (64, 128, 128 maps) of three convolutions over 8, 5 and 3 steps; the mean over time.

    Keeps the number of steps, so takes series of any length. `width` multiplies the maps.
    """
    return SeriesResNet(num_classes, in_channels, width)


class SeriesResNet(nn.Module):
    """See `ts_resnet`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        blocks = []
        for maps in (64, 128, 128):
            blocks.append(Block(in_channels, maps := scaled(maps, width)))
            in_channels = maps
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(in_channels, num_classes)
        self.apply(initialize_keras)

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k"]:
        """Logits."""
        logits: Tensor = self.dense(self.blocks(x).mean(2))
        return logits


class Block(nn.Module):
    """Three convolutions beside a shortcut; the last ReLU follows the sum."""

    def __init__(self, in_channels: int, maps: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(in_channels, maps, 8),
            nn.ReLU(),
            *_convolution(maps, maps, 5),
            nn.ReLU(),
            *_convolution(maps, maps, 3),
        )
        projection = [nn.Conv1d(in_channels, maps, 1)] if in_channels != maps else []
        self.shortcut = nn.Sequential(*projection, nn.BatchNorm1d(maps))

    def forward(self, x: Float[Tensor, "n c t"]) -> Float[Tensor, "n k t"]:
        """Maps."""
        return F.relu(self.body(x) + self.shortcut(x))


def _convolution(in_channels: int, maps: int, kernel: int) -> list[nn.Module]:
    """As many steps out as in, then batch norm."""
    before = (kernel - 1) // 2
    padding = nn.ConstantPad1d((before, kernel - 1 - before), 0.0)
    return [padding, nn.Conv1d(in_channels, maps, kernel), nn.BatchNorm1d(maps)]
