"""Transposed convolution: what carries a map back over a convolution, computed in three ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from striate.errors import InputError, did_you_mean
from striate.ops.algorithms.setting import flipped, pad, spread
from striate.ops.convolve import check_shapes, correlate
from striate.ops.padding import Axes, Padding, Pairs, Whole, padding_pairs, per_axis, whole
from striate.shapes import Float, Num, Tensor

_NATIVE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def transposed(
    x: Float[Tensor, "n k *space"],
    kernel: Float[Tensor, "k c_group *window"],
    bias: Float[Tensor, "c"] | None = None,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    output_padding: Axes = 0,
    dilation: Axes = 1,
    groups: Whole = 1,
    form: str = "adjoint",
) -> Float[Tensor, "n c *out"]:
    """Transposed convolution ("deconvolution"): the transpose of the matrix of `correlate` with the same arguments.

        form="adjoint"      torch's own, Mᵀ x
        form="insertion"    stride - 1 zeros between the values of x, padding by K - 1, then `convolve`
        form="scatter"      each value of x adds the kernel, times that value, to the output: Y[s·i + d·a] += X[i] K[a]

    All give the same. "adjoint" is fastest where sizes repeat; torch prepares it anew for each size, so where every
    call has another one, "scatter" (one matrix product, its columns added up) can be several times faster. The kernel
    has the layout of that `correlate` (k kernels for c channels, as torch has it), which reads this output and gives x.
    `padding` is what that one pads, so it is cut off here. A size that it floors fits several outputs: this is the
    least, and `output_padding` (below stride or dilation) adds to its end.

    Raises InputError for arguments that do not go together or leave no output, and for another `form`.
    Source: Dumoulin and Visin 2016, chapter 4; Zeiler, Krishnan, Taylor and Fergus 2010.

    >>> x, k = torch.tensor([[[[1.0, 1.0], [2.0, 3.0]]]]), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> transposed(x, k)
    tensor([[[[ 1.,  3.,  2.],
              [ 5., 14., 10.],
              [ 6., 17., 12.]]]])
    """
    if form not in FORMS:
        raise InputError("unknown form", got=repr(form), fix=did_you_mean(form, FORMS))
    window = tuple(kernel.shape[2:])
    if x.ndim != kernel.ndim or x.shape[1] != kernel.shape[0]:
        expected = f"{x.ndim} axes, the first with the {x.shape[1]} channels of x"
        raise InputError("cannot transpose", where="kernel", expected=expected, got=f"shape {tuple(kernel.shape)}")
    if not all(x.shape[2:]):
        raise InputError("cannot transpose", where="x", expected="one value or more on each axis", got=tuple(x.shape))
    parts = whole(groups)
    if parts is None or x.shape[1] % parts:
        expected = f"a divisor of the {x.shape[1]} channels of x"
        raise InputError("cannot transpose", where="groups", expected=expected, got=groups)
    channels = kernel.shape[1] * parts
    turned = kernel.new_empty(1).expand(channels, x.shape[1] // parts, *window)  # only its shape and type are read
    check_shapes(x, turned, bias, parts, what="cannot transpose")
    steps, holes = per_axis("stride", stride, len(window)), per_axis("dilation", dilation, len(window))
    added = per_axis("output_padding", output_padding, len(window), least=0)
    if any(a >= max(s, d) for a, s, d in zip(added, steps, holes, strict=True)):
        expected = "less than stride or dilation"
        raise InputError("cannot use this output_padding", expected=expected, got=output_padding)
    pairs = padding_pairs(padding, window, holes)
    sizes = [
        (n - 1) * s + d * (k - 1) + 1 + a - sum(pair)
        for n, s, d, k, a, pair in zip(x.shape[2:], steps, holes, window, added, pairs, strict=True)
    ]
    if min(sizes) < 1:
        fix = "Pad less, or pass output_padding."
        raise InputError("padding leaves no output", expected="a size of 1 or more", got=tuple(sizes), fix=fix)
    y = FORMS[form](x, kernel, stride=steps, padding=pairs, added=added, dilation=holes, groups=parts)
    return y if bias is None else y + bias.view(-1, *[1] * len(window))


def insert_zeros(x: Num[Tensor, "n c *space"], step: Axes) -> Num[Tensor, "n c *spread"]:
    """`step` - 1 zeros between each two values of each spatial axis: (size - 1) · step + 1 values.

    So a kernel is dilated, and a map made ready for a transposed convolution; x itself at step 1. Raises InputError
    below 1.

    >>> insert_zeros(torch.tensor([[[1, 2, 3]]]), 2)
    tensor([[[1, 0, 2, 0, 3]]])
    """
    return spread(x, per_axis("step", step, x.ndim - 2))


def _adjoint(x: Tensor, kernel: Tensor, *, padding: Pairs, added: tuple[int, ...], **options: Any) -> Tensor:
    y = _NATIVE[len(added)](x, kernel, output_padding=added, **options)
    return pad(y, [(-before, -after) for before, after in padding])


def _insertion(
    x: Tensor, kernel: Tensor, *, stride: Axes, padding: Pairs, added: tuple[int, ...], dilation: Axes, groups: int
) -> Tensor:
    full = padding_pairs("full", tuple(kernel.shape[2:]), dilation)
    around = [(f[0] - p[0], f[1] - p[1] + a) for f, p, a in zip(full, padding, added, strict=True)]
    x = pad(insert_zeros(x, stride), around)  # below 0 it cuts
    return correlate(x, flipped(kernel, groups), dilation=dilation, groups=groups)


def _scatter(
    x: Tensor,
    kernel: Tensor,
    *,
    stride: tuple[int, ...],
    padding: Pairs,
    added: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    rank, channels = len(stride), kernel.shape[1] * groups
    lift = (1,) * (3 - rank)  # all as volumes: torch's fold adds up planes, and the loop below their stack
    space, window = (*lift, *x.shape[2:]), (*lift, *kernel.shape[2:])
    steps, holes = (*lift, *stride), (*lift, *dilation)
    reach = [(n - 1) * s + 1 for n, s in zip(space, steps, strict=True)]
    depth, high, wide = (r + d * (k - 1) for r, d, k in zip(reach, holes, window, strict=True))
    weights = torch.unflatten(kernel, 0, (groups, -1)).flatten(2).transpose(1, 2)  # (groups, c/groups·taps, k/groups)
    products = weights @ torch.unflatten(x.flatten(2), 1, (groups, -1))
    products = products.reshape(len(x), channels, window[0], window[1] * window[2], space[0], space[1] * space[2])
    y = x.new_zeros(len(x), channels, depth, high, wide)
    for tap in range(window[0]):
        columns = products[:, :, tap].permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)
        planes = F.fold(columns, (high, wide), window[1:], holes[1:], 0, steps[1:])
        first = tap * holes[0]
        y[:, :, first : first + reach[0] : steps[0]] += torch.unflatten(planes, 0, (len(x), space[0])).transpose(1, 2)
    ends = [(-before, a - after) for (before, after), a in zip(padding, added, strict=True)]
    return pad(y.view(len(x), channels, *y.shape[-rank:]), ends)


FORMS: dict[str, Callable[..., Tensor]] = {"adjoint": _adjoint, "insertion": _insertion, "scatter": _scatter}
