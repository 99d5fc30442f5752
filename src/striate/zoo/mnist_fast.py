"""A small network made to learn MNIST in seconds on a CPU."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from torch import nn

from striate.registry import Between
from striate.shapes import Float, Tensor
from striate.zoo.registry import architecture


@architecture(
    paper="striate (this package); pooling before ReLU as in tuomaso/train_mnist_fast",
    year=2026,
    input=(1, 28, 28),
    least=24,  # from here on the last map has more than one pixel: statistics of a batch of one exist
    parameters=53_914,
    macs=887_040,
    note="No paper. benchmarks/train_mnist.py measures how long it takes to 99 % on MNIST.",
)
def mnist_fast(
    num_classes: int = 10,
    in_channels: int = 1,
    input_size: tuple[int, int] = (28, 28),
    width: Annotated[int, Between(1, 1024, whole=True)] = 16,
) -> nn.Module:
    """A 6x6 convolution of stride 2, two 3x3 convolutions without padding, pooling before norm and ReLU.

    Maps 28 -> 12 -> 10 -> 5 -> 3 with 16, 32 and 128 channels (`width`, 2 and 8 times it). The wide stride does on one
    input channel, where CPUs convolve slowly, a quarter of the work; pooling first leaves a quarter to norm and ReLU.
    """
    return MNISTFast(num_classes, in_channels, input_size, width)


class MNISTFast(nn.Module):
    """See `mnist_fast`."""

    def __init__(self, num_classes: int, in_channels: int, input_size: tuple[int, int], width: int) -> None:
        super().__init__()
        h, w = (((side - 6) // 2 - 1) // 2 - 2 for side in input_size)
        self.stem = nn.Conv2d(in_channels, width, 6, stride=2)
        self.conv1 = nn.Conv2d(width, 2 * width, 3, bias=False)
        # Statistics of a few batches: there are only a few hundred.
        self.norm1 = nn.BatchNorm2d(2 * width, momentum=0.3)
        self.conv2 = nn.Conv2d(2 * width, 8 * width, 3, bias=False)
        self.norm2 = nn.BatchNorm2d(8 * width, momentum=0.3)
        self.dense = nn.Linear(8 * width * h * w, num_classes)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Logits."""
        x = F.relu(self.stem(x))
        x = F.relu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        x = F.relu(self.norm2(self.conv2(x)))
        logits: Tensor = self.dense(x.flatten(1))
        return logits
