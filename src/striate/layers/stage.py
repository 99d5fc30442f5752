"""Stages of convolutions in a row, as VGG and its many descendants stack them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import nn

from striate.layers.by_rank import Layer


def conv_stage(
    in_channels: int, widths: Sequence[int], *, conv: Layer = nn.Conv2d, norm: Layer | None = None, **options: Any
) -> nn.Sequential:
    """Layers conv1, [norm1,] relu1, conv2, ... of the given widths, by default 3x3 and padded by one.

    `conv` and `norm` are the kinds of layers; `options` (kernel_size, padding, dilation) go to each convolution.

    >>> [name for name, _ in conv_stage(3, [8, 8]).named_children()]
    ['conv1', 'relu1', 'conv2', 'relu2']
    """
    options = {"kernel_size": 3, "padding": 1} | options
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, width in enumerate(widths, 1):
        layers[f"conv{number}"] = conv(in_channels, width, **options)
        if norm is not None:
            layers[f"norm{number}"] = norm(width)
        layers[f"relu{number}"] = nn.ReLU()
        in_channels = width
    return nn.Sequential(layers)
