"""Cross-correlation with a kernel of its own at each place: weights that are not shared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

from striate.errors import InputError
from striate.ops.convolve import output_size
from striate.ops.padding import Axes, Padding, Whole, extend, padding_pairs, per_axis, whole
from striate.ops.windows import unfold
from striate.shapes import Float, Tensor

# Below so many items a matrix product reads rows of weights faster than columns.
FEW = 4


def correlate_locally(
    x: Float[Tensor, "n c *space"],
    kernels: Float[Tensor, "*out_k_c_window"],
    bias: Float[Tensor, "k *out"] | None = None,
    *,
    stride: Axes = 1,
    padding: Padding = "valid",
    padding_mode: str = "zeros",
    dilation: Axes = 1,
    groups: Whole = 1,
) -> Float[Tensor, "n k *out"]:
    """As `correlate`, but each place has kernels (*out, k, c/groups, *window) and a bias (k, *out) of its own.

        y(r, c) = bias(r, c) + Σ_channels Σ_a Σ_b x(stride·r + dilation·a - before, …) kernels(r, c)(a, b)

    One batched matrix product over the places. The patches are not kept for the backward pass but laid out again.
    Raises InputError where the shape of `kernels` does not fit the input and the options.
    Source: LeCun 1989, Generalization and network design strategies ("local connections").

    >>> x, kernels = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[1.0, 0.0], [0.0, 10.0]])
    >>> correlate_locally(x, kernels.view(2, 1, 1, 2))
    tensor([[[ 1., 30.]]])
    """
    rank = x.ndim - 2
    if kernels.ndim != 2 * rank + 2:
        expected = f"axes (*out, k, c/groups, *window), {2 * rank + 2} for {rank} of space"
        raise InputError("cannot correlate locally", where="kernels", expected=expected, got=f"{kernels.ndim} axes")
    window = tuple(kernels.shape[rank + 2 :])
    steps, spread = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, window, spread)
    out = output_size(tuple(x.shape[2:]), window, steps, pairs, spread)
    parts = _check(x, kernels, bias, out, groups)
    return local_correlation(extend(x, pairs, padding_mode), kernels, bias, steps, spread, parts)


def _check(x: Tensor, kernels: Tensor, bias: Tensor | None, out: tuple[int, ...], groups: Whole) -> int:
    rank, what = x.ndim - 2, "cannot correlate locally"
    if tuple(kernels.shape[:rank]) != out:
        got = tuple(kernels.shape[:rank])
        raise InputError("kernels are for another size of the input", expected=f"{out} places", got=got)
    filters, channels = kernels.shape[rank : rank + 2]
    parts = whole(groups)
    if parts is None or filters % parts or channels * parts != x.shape[1]:
        expected = f"k a multiple of {groups} groups, and {x.shape[1]} channels in as many parts"
        raise InputError(what, expected=expected, got=f"k={filters}, c/groups={channels}")
    for name, tensor in (("kernels", kernels), ("bias", bias)):
        if tensor is not None and (tensor.dtype, tensor.device) != (x.dtype, x.device):
            expected, given = f"{x.dtype} on {x.device}, as x", f"{tensor.dtype} on {tensor.device}"
            raise InputError(what, where=name, expected=expected, got=given, fix=f"Pass {name}.to(x), say.")
    if bias is not None and bias.shape != (filters, *out):
        raise InputError(what, where="bias", expected=f"shape {(filters, *out)}", got=tuple(bias.shape))
    return parts


def local_correlation(
    x: Tensor, kernels: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """`correlate_locally` of what is padded already and known to fit."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        x, kernels = x.to(torch.get_autocast_dtype(device)), kernels.to(torch.get_autocast_dtype(device))
        bias = None if bias is None else bias.to(x.dtype)
    y: Tensor = _local(x, kernels, bias, stride, dilation, groups)
    return y


# One operation, so that `striate.describe` sees its windows: a batched product mixes up the places.
@torch.library.custom_op(
    "striate::correlate_locally",
    mutates_args=(),
    schema="(Tensor x, Tensor kernels, Tensor? bias, int[] stride, int[] dilation, int groups) -> Tensor",
)
def _local(
    x: Tensor, kernels: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    rows, products = _rows(kernels, groups), _patches(x, kernels, stride, dilation, groups)
    made = products @ rows.mT if len(x) < FEW else rows @ products
    made = made if len(x) >= FEW else made.mT
    rank = x.ndim - 2
    out, filters = kernels.shape[:rank], kernels.shape[rank]
    y = made.reshape(*out, filters, len(x)).permute(rank + 1, rank, *range(rank)).contiguous()
    return y if bias is None else y.add_(bias)


@_local.register_fake
def _(x: Tensor, kernels: Tensor, *_: Any) -> Tensor:
    rank = x.ndim - 2
    return x.new_empty(x.shape[0], kernels.shape[rank], *kernels.shape[:rank])


def _rows(kernels: Tensor, groups: int) -> Tensor:
    """Kernels as a matrix for each place and group: (places·groups, k/groups, taps)."""
    rank = kernels.ndim // 2 - 1
    places = math.prod(kernels.shape[:rank])
    return kernels.reshape(places * groups, kernels.shape[rank] // groups, math.prod(kernels.shape[rank + 1 :]))


def _patches(x: Tensor, kernels: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int) -> Tensor:
    """What each place reads: (places·groups, taps, n), or (places·groups, n, taps) for few items.

    With the items last each copy is of a run of them, ten times as fast as tap by tap.
    """
    rank, n = x.ndim - 2, len(x)
    few = n < FEW
    window = kernels.shape[rank + 2 :]
    last = x.reshape(n, groups, x.shape[1] // groups, *x.shape[2:]).movedim(0, -1)  # g c *space n
    seen = unfold(last if few else last.contiguous(), 2, window, stride, dilation)  # g c *out n *window
    out, taps = range(2, 2 + rank), range(3 + rank, 3 + 2 * rank)
    order = (*out, 0, 2 + rank, 1, *taps) if few else (*out, 0, 1, *taps, 2 + rank)
    places, size = math.prod(kernels.shape[:rank]) * groups, math.prod(kernels.shape[rank + 1 :])
    return seen.permute(order).reshape(places, *((n, size) if few else (size, n)))


def _turned(patches: Tensor, n: int) -> Tensor:
    """As (places·groups, n, taps)."""
    return patches if n < FEW else patches.mT


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, kernels, bias, ctx.stride, ctx.dilation, ctx.groups = inputs
    ctx.save_for_backward(x, kernels)
    ctx.biased = bias is not None


def _backward(ctx: Any, y: Tensor) -> tuple[Tensor | None, ...]:
    """The gradients: kernels from the patches, laid out again; x from the products, added up where they were read."""
    x, kernels = ctx.saved_tensors
    rank, n, groups = x.ndim - 2, len(x), ctx.groups
    rows = _rows(kernels, groups)
    upstream = y.movedim(0, -1).movedim(0, rank).reshape(len(rows), rows.shape[1], n).contiguous()
    to_x = to_kernels = None
    if ctx.needs_input_grad[1]:
        # No name for the patches: they are gone before x's products are made.
        products = upstream @ _turned(_patches(x, kernels, ctx.stride, ctx.dilation, groups), n)
        to_kernels = products.reshape(kernels.shape)
    if ctx.needs_input_grad[0]:
        to_x = _fold(rows.mT @ upstream, x, kernels, ctx.stride, ctx.dilation, groups)
    return to_x, to_kernels, y.sum(0) if ctx.biased else None, None, None, None


_local.register_autograd(_backward, setup_context=_keep)


def _fold(
    products: Tensor, x: Tensor, kernels: Tensor, stride: Sequence[int], dilation: Sequence[int], groups: int
) -> Tensor:
    """The adjoint of `_patches`: what each tap of each place gives is added to where it was read, axis by axis."""
    rank = x.ndim - 2
    out, window = kernels.shape[:rank], kernels.shape[rank + 2 :]
    total = products.reshape(*out, groups, kernels.shape[rank + 1], *window, len(x))
    for axis in reversed(range(rank)):
        taps = total.unbind(rank + 2 + axis)
        total = taps[0].new_zeros(*taps[0].shape[:axis], x.shape[2 + axis], *taps[0].shape[axis + 1 :])
        for number, tap in enumerate(taps):
            first = dilation[axis] * number
            where = slice(first, first + stride[axis] * (out[axis] - 1) + 1, stride[axis])
            total[(slice(None),) * axis + (where,)] += tap
    return total.flatten(rank, rank + 1).permute(rank + 1, rank, *range(rank))


def _flops(x: Sequence[int], kernels: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * x[0] * math.prod(kernels)


formula: Callable[..., Any] = register_flop_formula(torch.ops.striate.correlate_locally)
formula(_flops)
