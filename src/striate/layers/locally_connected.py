"""Local receptive fields whose weights are not shared."""

from __future__ import annotations

import math

import torch
from torch import nn

from striate.errors import InputError
from striate.ops.convolve import output_size
from striate.ops.local import local_correlation
from striate.ops.padding import Axes, Whole, extend, padding_pairs, per_axis, whole
from striate.shapes import Float, Tensor

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class LocallyConnected(nn.Module):
    """A convolution without weight sharing: each place of the output has kernels and biases of its own.

    With N places and `out_channels` fields at each: N · out_channels · (in_channels/groups · window + 1) parameters.
    A 28x28 image with fields of 5x5 has 24x24 places: 25·24·24 + 24·24 = 14,976; with three channels and five fields
    a place 218,880; with stride 2 only 12x12 places. `input_size` is the spatial size, of which there are as many axes
    as it has numbers (one number: 1-D); no other is taken. `weight` is (*out, k, c/groups, *window), `bias` (k, *out);
    they start as torch.nn's convolutions do. Options are those of torch.nn's convolutions.

    Raises InputError for options that do not fit, at once, and for an input of another size or number of channels.
    Source: LeCun 1989, Generalization and network design strategies.

    >>> layer = LocallyConnected(1, 1, (28, 28), 5)
    >>> sum(p.numel() for p in layer.parameters()), layer(torch.rand(2, 1, 28, 28)).shape
    (14976, torch.Size([2, 1, 24, 24]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        input_size: Axes,
        kernel_size: Axes,
        stride: Axes = 1,
        padding: Axes | str = 0,
        dilation: Axes = 1,
        groups: Whole = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        rank = len(input_size) if isinstance(input_size, tuple | list) else 1
        if not 1 <= rank <= 3:
            raise InputError("a map has 1, 2 or 3 spatial axes", expected="a size for each", got=input_size)
        self.input_size = per_axis("input size", input_size, rank)
        self.in_channels, self.out_channels = per_axis("number of channels", (in_channels, out_channels), 2)
        self.kernel_size = per_axis("kernel size", kernel_size, rank)
        self.stride, self.dilation = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
        self.padding = padding_pairs(padding, self.kernel_size, self.dilation)
        self.padding_mode = padding_mode
        parts = whole(groups)
        if parts is None or in_channels % parts or out_channels % parts:
            expected = f"a divisor of {in_channels} and {out_channels}"
            raise InputError("groups split the channels evenly", expected=expected, got=groups)
        self.groups = parts
        extend(torch.empty(1, 1, *self.input_size, device="meta"), self.padding, padding_mode)  # raises where it cannot
        self.output_size = output_size(self.input_size, self.kernel_size, self.stride, self.padding, self.dilation)
        self.weight = nn.Parameter(
            torch.empty(*self.output_size, out_channels, in_channels // parts, *self.kernel_size)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, *self.output_size)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/√fan-in, weights and biases, as torch.nn's convolutions."""
        limit = 1 / math.sqrt(self.in_channels // self.groups * math.prod(self.kernel_size))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -limit, limit)

    @classmethod
    def from_convolution(cls, conv: nn.Module, input_size: Axes) -> LocallyConnected:
        """The same function on inputs of one size, its kernels copied to each place, from where they may go apart."""
        if not isinstance(conv, CONVOLUTIONS):
            raise InputError(
                "only a convolution can be unshared", expected="nn.Conv1d to nn.Conv3d", got=type(conv).__name__
            )
        size = (input_size,) * len(conv.kernel_size) if isinstance(input_size, int) else input_size
        made = cls(
            conv.in_channels,
            conv.out_channels,
            size,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
        ).to(conv.weight)
        with torch.no_grad():
            made.weight.copy_(conv.weight.expand_as(made.weight))
            if conv.bias is not None and made.bias is not None:
                made.bias.copy_(conv.bias.view(-1, *[1] * len(made.input_size)).expand_as(made.bias))
        return made.train(conv.training)

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k *out"]:
        """Each place's own fields."""
        if tuple(x.shape[1:]) != (self.in_channels, *self.input_size):
            raise InputError(
                "a locally connected layer has weights for inputs of one size",
                expected=(self.in_channels, *self.input_size),
                got=tuple(x.shape[1:]),
                fix="Resize or crop the input, or build the layer with its input_size.",
            )
        padded = extend(x, self.padding, self.padding_mode)
        return local_correlation(padded, self.weight, self.bias, self.stride, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Channels and sizes, as torch.nn prints them."""
        return (
            f"{self.in_channels}, {self.out_channels}, input_size={self.input_size}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, output_size={self.output_size}"
        )
