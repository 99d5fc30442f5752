"""Small networks that the lectures print or draw: two Keras classifiers, Nielsen's, a schematic one, Harley's two."""

from __future__ import annotations

import math
from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.layers import ScaledTanh, TableConv2d
from striate.layers.activation import ACTIVATIONS, Activation
from striate.layers.initialization import initialize_keras
from striate.layers.normalization import Norm, norm_layer
from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.lenet import C3_TABLE
from striate.zoo.options import Chance, Width, scaled
from striate.zoo.registry import architecture


@architecture(
    paper="Keras documentation, Simple MNIST convnet (F. Chollet 2015), as printed in the lectures",
    year=2015,
    input=(1, 28, 28),
    least=10,
    parameters=34_826,
    macs=2_440_960,
)
def keras_mnist(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: tuple[int, int] = (28, 28),
    width: Width = 1.0,
    dropout: Chance = 0.5,
) -> nn.Module:
    """Two 3x3 convolutions (32, 64), each with 2x2 max pooling, dropout and one dense layer.

    Maps 28 -> 26 -> 13 -> 11 -> 5, then 1,600 values. `width` multiplies both widths. Initialized as Keras does
    (Glorot uniform, zero biases).
    """
    return KerasMNIST(num_classes, in_channels, input_size, width, dropout)


class KerasMNIST(nn.Module):
    """See `keras_mnist`."""

    def __init__(
        self, num_classes: int, in_channels: int, input_size: tuple[int, int], width: float, dropout: float
    ) -> None:
        super().__init__()
        first, second = (scaled(maps, width) for maps in (32, 64))
        h, w = (((side - 2) // 2 - 2) // 2 for side in input_size)
        self.conv1 = nn.Conv2d(in_channels, first, 3)
        self.conv2 = nn.Conv2d(first, second, 3)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(second * h * w, num_classes)
        self.apply(initialize_keras)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        logits: Tensor = self.dense(self.dropout(x.flatten(1)))
        return logits


@architecture(
    paper="Keras classifier with a fully convolutional end, as printed in the lectures",
    year=2015,
    input=(1, 28, 28),
    least=18,
    parameters=93_962,
    macs=3_100_032,
    note="As printed, the softmax stands before the average over positions: probabilities are averaged, not scores.",
)
def keras_fcn(num_classes: int = 10, in_channels: int = 1, width: Width = 1.0) -> nn.Module:
    """Three 3x3 convolutions (32, 64, 128), a 1x1 convolution to the classes, softmax and global average.

    Takes images of any size from 18 pixels on. Returns the logarithm of the averaged probabilities, which are
    logits: their softmax is what the printed network returns.
    """
    return KerasFCN(num_classes, in_channels, width)


class KerasFCN(nn.Module):
    """See `keras_fcn`."""

    def __init__(self, num_classes: int, in_channels: int, width: float) -> None:
        super().__init__()
        first, second, third = (scaled(maps, width) for maps in (32, 64, 128))
        self.conv1 = nn.Conv2d(in_channels, first, 3)
        self.conv2 = nn.Conv2d(first, second, 3)
        self.conv3 = nn.Conv2d(second, third, 3)
        self.conv4 = nn.Conv2d(third, num_classes, 1)
        self.apply(initialize_keras)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Log-probabilities."""
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.conv3(x))
        log_probability: Tensor = self.conv4(x).log_softmax(1).flatten(2)
        return log_probability.logsumexp(2) - math.log(log_probability.shape[2])


@architecture(
    paper="Nielsen 2015, Neural Networks and Deep Learning, chapter 6, with the lectures' three maps",
    year=2015,
    input=(1, 28, 28),
    least=6,
    parameters=4_408,
    macs=47_520,
)
def nielsen_mnist(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: tuple[int, int] = (28, 28),
    maps: Annotated[int, Between(1, 4096, whole=True)] = 3,
) -> nn.Module:
    """One 5x5 convolution (3 maps, sigmoid), 2x2 max pooling and one dense layer.

    Maps 28 -> 24 -> 12, then 432 values.
    """
    return NielsenMNIST(num_classes, in_channels, input_size, maps)


class NielsenMNIST(nn.Module):
    """See `nielsen_mnist`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], maps: int) -> None:
        super().__init__()
        h, w = ((side - 4) // 2 for side in input_size)
        self.conv = nn.Conv2d(in_channels, maps, 5)
        self.dense = nn.Linear(maps * h * w, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        # The sigmoid is monotone: pooling before it gives the same maps for a quarter of the work.
        x = F.max_pool2d(self.conv(x), 2).sigmoid()
        logits: Tensor = self.dense(x.flatten(1))
        return logits


@architecture(
    paper="The lectures' drawing of a CNN for CIFAR-10: stacked convolutions, a multi-layer perceptron, softmax",
    year=2018,
    input=(3, 32, 32),
    least=8,
    parameters=356_810,
    macs=10_585_344,
    lectures="stacked CNN layers, fully connected layer and softmax, without numbers",
    note="Depth and widths are this package's choice.",
)
def cifar10_schematic(
    num_classes: int = 10,
    in_channels: int = 3,
    input_size: tuple[int, int] = (32, 32),
    width: Width = 1.0,
    dropout: Chance = 0.0,
    norm: Norm = "none",
    activation: Activation = "relu",
) -> nn.Module:
    """Three 3x3 convolutions (32, 64, 128), each with ReLU and 2x2 max pooling, and two dense layers (128 hidden).

    Maps 32 -> 16 -> 8 -> 4, then 2,048 values. `width` multiplies all widths, `dropout` acts before the last layer,
    `norm` (batch, layer, group, instance) follows each convolution, `activation` (relu, tanh, sigmoid) is that of all
    hidden layers: the network with which recipes/techniques.py compares them.
    """
    return CIFAR10Schematic(num_classes, in_channels, input_size, width, dropout, norm, activation)


class CIFAR10Schematic(nn.Module):
    """See `cifar10_schematic`."""

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        input_size: tuple[int, int],
        width: float,
        dropout: float,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        first, second, third, hidden = (scaled(maps, width) for maps in (32, 64, 128, 128))
        h, w = (side // 8 for side in input_size)
        self.conv1 = nn.Conv2d(in_channels, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.norms = nn.ModuleList(norm_layer(norm, maps) for maps in (first, second, third))
        self.squash = ACTIVATIONS[activation]()
        self.hidden = nn.Linear(third * h * w, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        # The activations are monotone: pooling before them gives the same maps for a quarter of the work.
        for conv, norm in zip((self.conv1, self.conv2, self.conv3), self.norms, strict=True):
            x = self.squash(F.max_pool2d(norm(conv(x)), 2))
        logits: Tensor = self.output(self.dropout(self.squash(self.hidden(x.flatten(1)))))
        return logits


@architecture(
    paper="Harley 2015, An interactive node-link visualization of convolutional neural networks, and its page",
    year=2015,
    input=(1, 28, 28),
    least=1,
    parameters=266_610,
    macs=266_200,
    lectures="two-layer dense network",
)
def harley_dense(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: tuple[int, int] = (28, 28),
    width: Width = 1.0,
) -> nn.Module:
    """The dense network of Harley's visualization: 784 pixels, 300 and 100 hidden units with scaled tanh, 10 classes.

    `width` multiplies the hidden units.
    """
    first, second = (scaled(maps, width) for maps in (300, 100))
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(in_channels * math.prod(input_size), first), ScaledTanh()),
        *(nn.Linear(first, second), ScaledTanh()),
        nn.Linear(second, num_classes),
    )


@architecture(
    paper="Harley 2015, An interactive node-link visualization of convolutional neural networks, and its page and code",
    year=2015,
    input=(1, 32, 32),
    least=16,
    parameters=62_902,
    macs=418_600,
    lectures="two convolutions with pooling, dense layers",
    note="The code connects the second convolution by LeNet-5's table I and pads the 28x28 digit with two pixels of "
    "background. The MACs are those executed: absent kernels are zero.",
)
def harley_cnn(num_classes: int = 10, in_channels: int = 1, input_size: tuple[int, int] = (32, 32)) -> nn.Module:
    """The CNN of Harley's visualization: LeNet-5 with max pooling, 100 units before the classes and no codes.

    Maps 32 -> 28 -> 14 -> 10 -> 5 with 6 and 16 channels, then 400 values, 120 and 100, all with scaled tanh.
    """
    return HarleyCNN(num_classes, in_channels, input_size)


class HarleyCNN(nn.Module):
    """See `harley_cnn`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        h, w = (((side - 4) // 2 - 4) // 2 for side in input_size)
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = TableConv2d(6, C3_TABLE, 5)
        self.dense1 = nn.Linear(16 * h * w, 120)
        self.dense2 = nn.Linear(120, 100)
        self.output = nn.Linear(100, num_classes)
        self.squash = ScaledTanh()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        # The squashing is monotone: pooling before it gives the same maps for a quarter of the work.
        x = self.squash(F.max_pool2d(self.conv1(x), 2))
        x = self.squash(F.max_pool2d(self.conv2(x), 2))
        x = self.squash(self.dense2(self.squash(self.dense1(x.flatten(1)))))
        logits: Tensor = self.output(x)
        return logits
