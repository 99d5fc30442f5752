"""The countings of the lectures: weights, connections and map sizes from a few whole numbers, in any rank.

`size` says the rank: 28 is one axis, (28, 28) are two; what else goes by axis is one number for all, or a tuple. A
*connection* is one weight times one input value, for one output value: a multiply-add. Zeros of the padding count
like any input, as a layer computes them; biases add none. Every function raises InputError for a number out of range:
below 0 for padding, below 1 for all else. With m inputs, n outputs, and k inputs in a field:

    dense                        m·n weights, m·n connections
    convolution(shared=False)    k·n weights, k·n connections (locally connected)
    convolution                  k weights,   k·n connections
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

from striate.errors import InputError, did_you_mean

Size = TypeVar("Size", int, tuple[int, ...])
Axes = int | tuple[int, ...]
ROUNDINGS = ("exact", "floor", "ceil")
WHAT = "cannot size a layer"


class Sides(NamedTuple):
    """Padding that differs at the two ends of an axis."""

    before: int
    after: int


Padding = int | Sides | tuple[int | Sides, ...]


@dataclass(frozen=True)
class Count:
    """What one layer has: weights, biases, connections, and the shape of its output, channels first."""

    weights: int
    biases: int
    connections: int
    shape: tuple[int, ...]

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases

    @property
    def outputs(self) -> int:
        """Number of output values."""
        return math.prod(self.shape)

    @property
    def fan_in(self) -> int:
        """Inputs that one output value sees."""
        return self.connections // self.outputs

    @property
    def reuse(self) -> int:
        """How many connections share one weight."""
        return self.connections // self.weights


@dataclass(frozen=True)
class Comparison:
    """Layers in a row (a nonlinearity after each), and the one layer that they stand for."""

    parts: tuple[Count, ...]
    whole: Count

    @property
    def weights(self) -> int:
        """Weights of the parts together."""
        return sum(part.weights for part in self.parts)

    @property
    def connections(self) -> int:
        """Connections of the parts together."""
        return sum(part.connections for part in self.parts)

    @property
    def ratio(self) -> Fraction:
        """Connections of the parts over those of the whole."""
        return Fraction(self.connections, self.whole.connections)


def dense(inputs: Axes, outputs: Axes, *, bias: bool = True) -> Count:
    """Count a fully connected layer between numbers or shapes. Source: lectures, N01, N02, L02.

    >>> dense((3, 3), (2, 2), bias=False)
    Count(weights=36, biases=0, connections=36, shape=(2, 2))
    """
    shape = _axes("outputs", outputs)
    weights = math.prod(_axes("inputs", inputs)) * math.prod(shape)
    return Count(weights, math.prod(shape) if bias else 0, weights, shape)


def convolution(
    size: Axes,
    in_channels: int,
    out_channels: int,
    kernel: Axes,
    *,
    stride: Axes = 1,
    padding: Padding = 0,
    dilation: Axes = 1,
    groups: int = 1,
    bias: bool = True,
    shared: bool = True,
    rounding: str = "exact",
) -> Count:
    """Count a convolution: weights shared by all places, one bias a filter, whatever the `size`.

    With `shared=False` a locally connected layer: each output value has weights and a bias of its own. Where the
    kernel has the size of the map it is a fully connected layer. Raises InputError as `output_size` does, and for
    channels that `groups` does not divide. Source: lectures, N03, N05, N09, N31, L06.

    >>> convolution((3, 3), 1, 1, 2)
    Count(weights=4, biases=1, connections=16, shape=(1, 2, 2))
    >>> convolution((3, 3), 1, 1, 2, shared=False)
    Count(weights=16, biases=4, connections=16, shape=(1, 2, 2))
    """
    size = _axes("size", size)
    shape = out_channels, *output_size(size, kernel, stride, padding, dilation, rounding)
    for name, channels in (("groups", groups), ("in_channels", in_channels), ("out_channels", out_channels)):
        if _axes(name, channels)[0] % groups:
            raise InputError(WHAT, where=name, expected=f"a multiple of groups={groups}", got=channels)
    fan_in = in_channels // groups * math.prod(_axes("kernel", kernel, size))
    outputs = math.prod(shape)
    filters = out_channels if shared else outputs
    return Count(filters * fan_in, filters if bias else 0, outputs * fan_in, shape)


def output_size(
    size: Size, kernel: Axes, stride: Axes = 1, padding: Padding = 0, dilation: Axes = 1, rounding: str = "exact"
) -> Size:
    """The size of the map that a convolution or a pooling gives: (W - K + 2P) / S + 1, with K = dilation·(k - 1) + 1.

    Where that is no whole number, `rounding` "exact", the lectures' rule, raises InputError: "not an image". "floor"
    leaves the last values out, as PyTorch does unless asked. "ceil", its `ceil_mode` of pooling, has one more window:
    it reaches beyond the end, but starts in the input or the padding before it. Raises InputError, too, for a kernel
    that does not fit. Source: lectures, M42; torch.nn.MaxPool2d.

    >>> output_size(28, 5), output_size((7, 7), 3, stride=2), output_size((7, 9), (3, 5), padding=(1, 2))
    (24, (3, 3), (7, 9))
    >>> output_size(8, 3, stride=2, rounding="floor"), output_size(8, 3, stride=2, rounding="ceil")
    (3, 4)
    """
    sizes = _axes("size", size)
    if rounding not in ROUNDINGS:
        raise InputError(WHAT, where="rounding", got=repr(rounding), fix=did_you_mean(rounding, ROUNDINGS))
    steps, extents = _axes("stride", stride, sizes), _extents(kernel, dilation, sizes)
    axes = zip(range(len(sizes)), sizes, extents, steps, _sides(padding, len(sizes)), strict=True)
    maps = tuple(_windows(*axis, rounding) for axis in axes)
    return maps[0] if isinstance(size, int) else maps


def transposed_output_size(
    size: Size, kernel: Axes, stride: Axes = 1, padding: Padding = 0, dilation: Axes = 1, output_padding: Axes = 0
) -> Size:
    """The size of the map that a transposed convolution gives: (W - 1)·S - 2P + K, the inverse of `output_size`.

    It is an ordinary convolution of the map with S - 1 zeros between its values, padded by K - 1 - P. Of the sizes
    that a strided convolution floors to W this is the least; `output_padding` (below stride or dilation) adds to it.
    Raises InputError where padding takes all. Source: lectures, M40, M41.

    >>> transposed_output_size(2, 2), transposed_output_size((2, 3), 3, stride=2, padding=1, output_padding=1)
    (3, (4, 6))
    """
    sizes = _axes("size", size)
    steps, extents = _axes("stride", stride, sizes), _extents(kernel, dilation, sizes)
    added = _axes("output_padding", output_padding, sizes, least=0)
    if any(map(int.__ge__, added, map(max, steps, _axes("dilation", dilation, sizes)))):
        raise InputError(WHAT, where="output_padding", expected="less than stride or dilation", got=output_padding)
    axes = zip(sizes, steps, _sides(padding, len(sizes)), extents, added, strict=True)
    maps = tuple((w - 1) * s - sum(p) + k + a for w, s, p, k, a in axes)
    if min(maps) < 1:
        raise InputError(WHAT, where="padding", expected="something left on each axis", got=f"sizes {maps}")
    return maps[0] if isinstance(size, int) else maps


def same_padding(kernel: int, dilation: int = 1) -> Sides:
    """The padding of one axis that keeps its size at stride 1: (K - 1) / 2 on each side (lectures, M43).

    Where K is even, one more after than before, as in PyTorch.

    >>> same_padding(3), same_padding(4)
    (Sides(before=1, after=1), Sides(before=1, after=2))
    """
    (extent,) = _extents(kernel, dilation, (1,))
    return Sides((extent - 1) // 2, extent // 2)


def shrinkage(size: int, kernel: int, dilation: int = 1) -> tuple[int, ...]:
    """The sizes of an axis under unpadded convolutions in a row, while the kernel fits (N44). InputError for kernel 1.

    >>> shrinkage(28, 5)
    (28, 24, 20, 16, 12, 8, 4)
    """
    (extent,) = _extents(kernel, dilation, (1,))
    if extent == 1:
        raise InputError(WHAT, where="kernel", expected="2 or more, to shrink the map", got=kernel)
    return tuple(range(_axes("size", size)[0], 0, 1 - extent))


def stacked_kernel(kernel: int, number: int) -> int:
    """The kernel that sees as much as `number` of these in a row: n·(k - 1) + 1 (lectures, L25).

    >>> stacked_kernel(3, 3)
    7
    """
    return _axes("number", number)[0] * (_axes("kernel", kernel)[0] - 1) + 1


def stacked(size: Axes, channels: int, kernel: Axes, number: int) -> Comparison:
    """Count `number` convolutions in a row against the one large that sees as much; all keep size and channels.

    Source: lectures, L25; Simonyan and Zisserman 2014, section 2.3.

    >>> three = stacked((56, 56), channels=10, kernel=3, number=3)
    >>> three.weights, three.whole.weights, three.ratio
    (2700, 4900, Fraction(27, 49))
    """
    kernel = _axes("kernel", kernel, _axes("size", size))
    large = tuple(stacked_kernel(k, number) for k in kernel)
    return Comparison((_kept(size, channels, channels, kernel),) * number, _kept(size, channels, channels, large))


def spatially_separable(size: Axes, channels: int, kernel: Axes) -> Comparison:
    """Count one convolution an axis (k + k weights) against the full kernel (k·k); all keep size and channels.

    Both can compute the same where the kernel is an outer product, as Sobel's is. Source: lectures, M22.

    >>> sobel = spatially_separable((10, 10), 1, 3)
    >>> sobel.weights, sobel.whole.weights, sobel.ratio
    (6, 9, Fraction(2, 3))
    """
    kernel = _axes("kernel", kernel, _axes("size", size))
    lines = [tuple(k if a == axis else 1 for a in range(len(kernel))) for axis, k in enumerate(kernel)]
    *parts, whole = (_kept(size, channels, channels, k) for k in (*lines, kernel))
    return Comparison(tuple(parts), whole)


def depthwise_separable(size: Axes, in_channels: int, out_channels: int, kernel: Axes) -> Comparison:
    """Count a convolution of each channel by itself, then a 1x1 to M channels, against the full one; all keep size.

    The ratio is 1/M + 1/k². Source: lectures, L23; Howard et al. 2017 (MobileNets), section 3.1.

    >>> depthwise_separable((14, 14), 512, 256, 3).ratio == Fraction(1, 256) + Fraction(1, 9)
    True
    """
    whole, pointwise = (_kept(size, in_channels, out_channels, k) for k in (kernel, 1))
    return Comparison((_kept(size, in_channels, in_channels, kernel, groups=in_channels), pointwise), whole)


def _kept(size: Axes, in_channels: int, out_channels: int, kernel: Axes, groups: int = 1) -> Count:
    """A convolution padded so that the map keeps its size."""
    padding = tuple(map(same_padding, _axes("kernel", kernel, _axes("size", size))))
    return convolution(size, in_channels, out_channels, kernel, padding=padding, groups=groups)


def _windows(axis: int, size: int, extent: int, stride: int, sides: Sides, rounding: str) -> int:
    """How many windows stand on one padded axis."""
    where, padded = f"axis {axis}", size + sum(sides)
    room = padded - extent
    if room < 0 and (rounding != "ceil" or room <= -stride):
        raise InputError("the kernel does not fit", where=where, expected=f"{padded} or less, dilated", got=extent)
    if rounding == "exact" and room % stride:
        got = f"({size} - {extent} + {sum(sides)}) / {stride} + 1 = {Fraction(room, stride) + 1}"
        fix = 'Change stride or padding, or pass rounding="floor" or "ceil", as PyTorch does.'
        raise InputError("the result is not an image", where=where, expected="a whole number", got=got, fix=fix)
    # With "ceil" the last window reaches beyond the end, but does not start in the padding there.
    last = min(-(-room // stride), (size + sides.before - 1) // stride) if rounding == "ceil" else room // stride
    return last + 1


def _axes(name: str, value: Axes, like: tuple[int, ...] = (), least: int = 1) -> tuple[int, ...]:
    # One number for each axis of `like`; without it the value says how many.
    values = value if isinstance(value, tuple) else (value,) * (len(like) or 1)
    if not values or min(values) < least or (like and len(values) != len(like)):
        many = f", one for all or one for each of {len(like)} axes" if len(like) > 1 else ""
        raise InputError(WHAT, where=name, expected=f"{least} or more{many}", got=value)
    return values


def _extents(kernel: Axes, dilation: Axes, like: tuple[int, ...]) -> tuple[int, ...]:
    spread = zip(_axes("kernel", kernel, like), _axes("dilation", dilation, like), strict=True)
    return tuple((k - 1) * d + 1 for k, d in spread)


def _sides(padding: Padding, rank: int) -> tuple[Sides, ...]:
    each = (padding,) * rank if isinstance(padding, int | Sides) else padding
    sides = tuple(side if isinstance(side, Sides) else Sides(side, side) for side in each)
    if len(sides) != rank or min(map(min, sides)) < 0:
        raise InputError(WHAT, where="padding", expected=f"0 or more, one for all or for each of {rank}", got=padding)
    return sides
