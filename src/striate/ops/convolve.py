"""Convolution and cross-correlation, as networks use them: batches, channels, filters; 1-D, 2-D and 3-D alike."""

from __future__ import annotations

from typing import Any

import torch

from striate.errors import InputError
from striate.ops.algorithms import correlation
from striate.ops.padding import Axes, Padding, Pairs, Whole, extend, padding_pairs, per_axis, whole
from striate.shapes import Float, Tensor

Options = tuple[tuple[int, ...], Pairs, tuple[int, ...]]
_seen: dict[Any, Options] = {}


def correlate(
    x: Float[Tensor, "n c *space"],
    kernel: Float[Tensor, "k c_group *window"],
    bias: Float[Tensor, "k"] | None = None,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
    algorithm: str = "auto",
) -> Float[Tensor, "n k *out"]:
    """Cross-correlation: slide each kernel over the input, sum the products over its window and all channels.

        y(r, c) = bias + Σ_channels Σ_a Σ_b x(stride·r + dilation·a - before, stride·c + …) k(a, b)

    This is what networks call convolution. One code path for 1-D, 2-D and 3-D; options are one number for all axes or
    one for each. `padding`: `padding_pairs` has the words, `padding_mode`: `extend` shows what stands there. `groups`
    splits channels and kernels into so many parts that do not see each other. `algorithm`: how it is computed; the
    result is the same. An empty batch gives an empty result.

    Raises InputError for shapes, types or devices that do not go together, options out of range, and a kernel that is
    larger than the padded input. Source: Goodfellow, Bengio and Courville 2016, section 9.1.

    >>> import torch
    >>> x, k = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), torch.tensor([[[1.0, -1.0]]])
    >>> correlate(x, k)
    tensor([[[-1., -2., -4.]]])
    >>> correlate(x, k, padding="same", padding_mode="circular")
    tensor([[[-1., -2., -4.,  7.]]])
    """
    parts = check_shapes(x, kernel, bias, groups)
    steps, pairs, spread = _settled(x.shape[2:], kernel.shape[2:], stride, padding, dilation)
    if padding_mode != "zeros":
        x, pairs = extend(x, pairs, padding_mode), ((0, 0),) * len(pairs)
    return correlation(x, kernel, bias, stride=steps, padding=pairs, dilation=spread, groups=parts, algorithm=algorithm)


def convolve(
    x: Float[Tensor, "n c *space"],
    kernel: Float[Tensor, "k c_group *window"],
    bias: Float[Tensor, "k"] | None = None,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
    algorithm: str = "auto",
) -> Float[Tensor, "n k *out"]:
    """Convolution: `correlate` with the kernel rotated by 180° (flipped on every window axis), whatever the options.

        full:    y(r, c) = Σ_a Σ_b x(r - a, c - b) k(a, b)
        causal:  the first values of that, as many as x has

    Arguments and errors are those of `correlate`; the layout of the kernel stays (k c/groups *window). "same" with an
    even kernel pads one more after than before, as `correlate` does; NumPy's "same" begins one value earlier.

    >>> import torch
    >>> x, k = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]]), torch.tensor([[[1.0, -1.0]]])
    >>> convolve(x, k), convolve(x, k, padding="causal")
    (tensor([[[1., 2., 4.]]]), tensor([[[1., 1., 2., 4.]]]))
    """
    return correlate(
        x,
        kernel.flip(tuple(range(2, kernel.ndim))),
        bias,
        stride=stride,
        padding=padding,
        padding_mode=padding_mode,
        dilation=dilation,
        groups=groups,
        algorithm=algorithm,
    )


def output_size(
    size: tuple[int, ...], window: tuple[int, ...], stride: Axes = 1, padding: Padding = "valid", dilation: Axes = 1
) -> tuple[int, ...]:
    """The spatial size of what `correlate` gives: floor((W - K + before + after) / stride) + 1.

    K = dilation·(k - 1) + 1 is what the window spans; what a stride leaves over at the end is not read. Raises
    InputError for a kernel that is larger than the padded input, or empty.

    >>> output_size((7, 7), (3, 3)), output_size((7, 7), (3, 3), stride=2), output_size((7, 7), (3, 3), padding=1)
    ((5, 5), (3, 3), (7, 7))
    """
    rank = len(size)
    taps, steps = per_axis("kernel", window, rank), per_axis("stride", stride, rank)
    spread = per_axis("dilation", dilation, rank)
    outputs = []
    for axis, pair in enumerate(padding_pairs(padding, taps, spread)):
        padded, extent = size[axis] + sum(pair), spread[axis] * (taps[axis] - 1) + 1
        if extent > padded:
            fix = 'Pad the input (padding="same", say), or use a smaller kernel or dilation.'
            expected = f"{padded} values or fewer, the padded input"
            raise InputError("the kernel does not fit", where=f"axis {axis}", expected=expected, got=extent, fix=fix)
        outputs.append((padded - extent) // steps[axis] + 1)
    return tuple(outputs)


def check_shapes(
    x: Tensor, kernel: Tensor, bias: Tensor | None = None, groups: Whole = 1, what: str = "cannot correlate"
) -> int:
    """The groups; InputError where input (n c *space), kernel (k c/groups *window) and bias (k) do not go together."""
    if not 3 <= x.ndim <= 5:
        expected = "axes (n, c, *space), 1 to 3 of space"
        raise InputError(what, where="x", expected=expected, got=f"shape {tuple(x.shape)}")
    if kernel.ndim != x.ndim:
        expected = f"axes (k, c/groups, *window), {x.ndim} as x has"
        raise InputError(what, where="kernel", expected=expected, got=f"shape {tuple(kernel.shape)}")
    for name, tensor in (("kernel", kernel), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (x.dtype, x.device) and not _cast(tensor, x):
            expected, got = f"{x.dtype} on {x.device}, as x", f"{tensor.dtype} on {tensor.device}"
            raise InputError(what, where=name, expected=expected, got=got, fix=f"Pass {name}.to(x), say.")
    if not x.is_floating_point():
        fix = "Pass x.float() and kernel.float()."
        raise InputError(what, where="x", expected="floating point", got=x.dtype, fix=fix)
    filters, channels = kernel.shape[0], x.shape[1]
    if not filters:
        raise InputError(what, where="kernel", expected="one kernel or more", got=f"shape {tuple(kernel.shape)}")
    parts = whole(groups)
    if parts is None or channels % parts or filters % parts:
        expected = f"a divisor of {channels} channels and of {filters} kernels"
        raise InputError(what, where="groups", expected=expected, got=groups)
    if kernel.shape[1] * parts != channels:
        expected = f"{channels // parts} channels ({channels} of x in {parts} groups)"
        raise InputError(what, where="kernel", expected=expected, got=kernel.shape[1])
    if bias is not None and bias.shape != (filters,):
        raise InputError(what, where="bias", expected=f"shape ({filters},)", got=tuple(bias.shape))
    return parts


def _cast(tensor: Tensor, x: Tensor) -> bool:
    """Whether torch.autocast will bring both to one type: not to or from float64."""
    device = x.device.type
    lowers = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return lowers and tensor.device == x.device and torch.float64 not in (tensor.dtype, x.dtype)


def _settled(size: torch.Size, window: torch.Size, stride: Axes, padding: Padding, dilation: Axes) -> Options:
    """`_settle`, remembered: on small maps it takes longer than the convolution."""
    if torch.compiler.is_compiling():
        return _settle(size, window, stride, padding, dilation)
    key = size, window, stride, padding, dilation
    try:
        found = _seen.get(key)
    except TypeError:  # lists, and sizes that are symbols, have no hash
        return _settle(size, window, stride, padding, dilation)
    if found is None:
        if len(_seen) >= 4096:
            _seen.clear()
        found = _seen[key] = _settle(size, window, stride, padding, dilation)
    return found


def _settle(size: torch.Size, window: torch.Size, stride: Axes, padding: Padding, dilation: Axes) -> Options:
    """Stride, padding and dilation, one for each axis, of a kernel that fits."""
    taps, rank = tuple(window), len(window)
    steps, spread = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, taps, spread)
    output_size(tuple(size), taps, steps, pairs, spread)
    return steps, pairs, spread
