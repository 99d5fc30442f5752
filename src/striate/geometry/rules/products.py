"""Rules of convolutions, matrix products, attention and norms."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from striate.geometry.graph import Counts
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, Read, Readings, broadcast, whole
from striate.geometry.rules.base import PHASES, Call, Facts, all_of, over, rule, same
from striate.geometry.window import IDENTITY, Window


@cache
def sliding(kernel: int, stride: int, padding: int, dilation: int = 1) -> Window:
    """The window of a convolution or pooling on one axis."""
    return Window(stride, -padding, dilation * (kernel - 1) - padding, step=dilation)


@cache
def transposed(kernel: int, stride: int, padding: int, dilation: int) -> Window:
    """The window of a transposed convolution: that of the convolution, reversed."""
    return sliding(kernel, stride, padding, dilation).reverse


@rule("convolution _convolution convolution_overrideable")
def convolution(call: Call) -> Facts:
    """Convolution and transposed convolution, any rank, groups, dilation."""
    x, weight = call["input"], call["weight"]
    rank, groups, turned = x.dim() - 2, call["groups"], call["transposed"]
    channels = weight.shape[0] if turned else weight.shape[1] * groups
    out_channels = call.outputs[0].shape[1]
    axes = [Axis(0, IDENTITY), grouped(channels, out_channels, groups)]
    for axis in range(rank):
        setting = [nth(call[key], axis) for key in ("stride", "padding", "dilation")]
        window = (transposed if turned else sliding)(weight.shape[2 + axis], *setting)
        axes.append(Axis(2 + axis, window))
    positions = x if turned else call.outputs[0]
    macs = positions.shape[0] * math.prod(positions.shape[2:]) * weight.numel()
    bias = call.numel if call["bias"] is not None else 0
    readings = call.read(x, axes)
    if call.source(weight) >= 0:
        readings += tuple(Read(call.source(weight), tuple(whole(size) for size in weight.shape)) for _ in "w")
    name = f"conv{'_transpose' * turned}{rank}d"
    return Facts(name, "convolution", (readings,), Counts(macs=macs, bias=bias))


@rule("striate::correlate_locally")
def local_correlation(call: Call) -> Facts:
    """A convolution whose weights are not shared: each is used once for each item."""
    x, kernels, groups = call["x"], call["kernels"], call["groups"]
    rank = x.dim() - 2
    axes = [Axis(0, IDENTITY), grouped(x.shape[1], kernels.shape[rank], groups)]
    for axis in range(rank):
        window = sliding(kernels.shape[rank + 2 + axis], nth(call["stride"], axis), 0, nth(call["dilation"], axis))
        axes.append(Axis(2 + axis, window))
    readings = call.read(x, axes)
    # Weights that the network computes: those of the place and the output channel, and their bias.
    own = [*(Axis(2 + axis, IDENTITY) for axis in range(rank)), Axis(1, IDENTITY)]
    readings += call.read(kernels, [*own, *(whole(size) for size in kernels.shape[rank + 1 :])])
    if call["bias"] is not None:
        readings += call.read(call["bias"], [Axis(1 + axis, IDENTITY) for axis in range(rank + 1)])
    counts = Counts(macs=x.shape[0] * kernels.numel(), bias=call.numel if call["bias"] is not None else 0)
    return Facts(f"local{rank}d", "convolution", (readings,), counts)


def grouped(channels: int, out_channels: int, groups: int) -> Axis:
    """Output channels read the input channels of their group."""
    if groups == 1:
        return whole(channels)
    if out_channels // groups > PHASES:
        return whole(channels)
    return Axis(1, _grouped(channels // groups, out_channels // groups))


@cache
def _grouped(channels: int, out_channels: int) -> Window:
    return Window.of(channels, [Indices.span(0, channels - 1)] * out_channels)


def nth(values: Any, axis: int) -> int:
    """An option of an axis, where one number stands for all of them."""
    return int(values[min(axis, len(values) - 1)] if isinstance(values, tuple | list) else values)


@rule("addmm mm bmm baddbmm matmul linear")
def product(call: Call) -> Facts:
    """Matrix products; one with a matrix of parameters is a linear layer."""
    added = call.name in ("aten::addmm", "aten::baddbmm")
    names = {
        "aten::addmm": ("mat1", "mat2"),
        "aten::baddbmm": ("batch1", "batch2"),
        "aten::linear": ("input", "weight"),
    }
    left, right = (
        call[key] for key in names.get(call.name, ("self", "mat2" if call.name != "aten::matmul" else "other"))
    )
    last = left.dim() - 1
    readings = same(call, left, {last: whole(left.shape[-1])})
    inner = right.dim() - (1 if call.name == "aten::linear" else 2)
    readings += same(call, right, {inner: whole(left.shape[-1])})
    bias = call.get("bias") if call.name == "aten::linear" else call["self"] if added else None
    if bias is not None and call.source(bias) >= 0:
        readings += (broadcast(call.source(bias), tuple(bias.shape), call.shape),)
    linear = call.source(left) < 0 or call.source(right) < 0
    counts = Counts(macs=call.numel * left.shape[-1], bias=call.numel if bias is not None else 0)
    return Facts("linear" if linear else "matmul", "linear" if linear else "attention", (readings,), counts)


@rule("mv dot addmv")
def vector_product(call: Call) -> Facts:
    """Products with a vector."""
    matrix, vector = call.get("mat", call["self"]), call.get("vec", call.get("tensor"))
    length = vector.shape[0]
    readings = call.read(vector, [whole(length)]) + over(call, matrix, [matrix.dim() - 1])
    if call.name == "aten::addmv" and call.source(call["self"]) >= 0:
        readings += (broadcast(call.source(call["self"]), tuple(call["self"].shape), call.shape),)
    return Facts("matmul", "linear", (readings,), Counts(macs=call.numel * length))


@rule("linalg_cross")
def cross(call: Call) -> Facts:
    """Cross product: each of three numbers reads the two others."""
    dim = call["dim"] % len(call.shape)
    others = Window.of(3, [Indices.of([1, 2]), Indices.of([0, 2]), Indices.of([0, 1])])
    readings: Readings = ()
    for tensor in (call["self"], call["other"]):
        aligned = broadcast(call.source(tensor), tuple(tensor.shape), call.shape)
        axes = [Axis(dim, others) if axis.driver == dim else axis for axis in aligned.axes]
        readings += call.read(tensor, axes)
    return Facts("cross", "elementwise", (readings,), Counts(elementwise=call.numel))


@rule("_trilinear")
def trilinear(call: Call) -> Facts:
    """The bilinear layer: a product of three tensors with axes of size 1 put in, summed over some axes."""
    gone = call["sumdim"]
    rank = call["i1"].dim() + len(call["expand1"])
    drivers = {axis: axis - sum(g < axis for g in gone) for axis in range(rank) if axis not in gone}
    readings: Readings = ()
    sizes = [1] * rank
    for tensor, expanded in ((call[f"i{n}"], call[f"expand{n}"]) for n in "123"):
        places = [axis for axis in range(rank) if axis not in expanded]
        axes = []
        for place, size in zip(places, tensor.shape, strict=True):
            sizes[place] = max(sizes[place], size)
            axes.append(Axis(drivers[place], IDENTITY) if place in drivers else whole(size))
        readings += call.read(tensor, axes)
    return Facts("bilinear", "linear", (readings,), Counts(macs=math.prod(sizes)))


@rule("_embedding_bag _embedding_bag_forward_only")
def embedding_bag(call: Call) -> Facts:
    """Sums of rows of a table: a bag of indices each."""
    loose = () if len(call["offsets"]) == 1 else (-1,)
    indices, weights = call["indices"], call["per_sample_weights"]
    given = [indices] if weights is None else [indices, weights]
    readings = tuple(read for t in given for read in call.read(t, [whole(len(t))], loose=loose))
    return Facts("embedding_bag", "other", (readings,))


@rule(
    "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
    "_scaled_dot_product_efficient_attention _scaled_dot_product_attention_math "
    "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_cudnn_attention "
    "scaled_dot_product_attention"
)
def attention(call: Call) -> Facts:
    """Scaled dot-product attention, shapes (…, t, d): each position sees all (causal: those up to itself)."""
    query, key, value = call["query"], call["key"], call["value"]
    time = query.dim() - 2
    seen = whole(key.shape[-2])
    if call["is_causal"] and key.shape[-2] <= PHASES:
        taps = [Indices.span(0, min(t, key.shape[-2] - 1)) for t in range(query.shape[-2])]
        seen = Axis(time, Window.of(key.shape[-2], taps))
    readings = same(call, query, {time + 1: whole(query.shape[-1])})
    readings += same(call, key, {time: seen, time + 1: whole(key.shape[-1])})
    readings += same(call, value, {time: seen})
    mask = call.get("attn_mask")
    if mask is not None and call.source(mask) >= 0:
        limits = {mask.dim() - 1: whole(mask.shape[-1])}
        axes = [*broadcast(0, tuple(mask.shape), (*call.shape[:-1], mask.shape[-1])).axes]
        readings += call.read(mask, [limits.get(axis, read) for axis, read in enumerate(axes)])
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return Facts("attention", "attention", (readings,), Counts(macs=pairs * (query.shape[-1] + value.shape[-1])))


@rule(
    "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm "
    "_batch_norm_with_update _batch_norm_no_update cudnn_batch_norm miopen_batch_norm"
)
def batch_norm(call: Call) -> Facts:
    """Batch norm: position by position with stored statistics, over the batch and all positions without."""
    x = call["input"]
    batch = call.get("training", call.name == "aten::_batch_norm_with_update")
    dims = [axis for axis in range(x.dim()) if axis != 1] if batch else []
    return Facts(
        "batch_norm", "norm", (over(call, x, dims), *all_of(call)), Counts(norm=call.numel * (3 if batch else 1))
    )


@rule("native_layer_norm layer_norm _fused_rms_norm rms_norm")
def layer_norm(call: Call) -> Facts:
    """Layer norm and RMS norm, over the last axes."""
    x = call["input"]
    dims = range(x.dim() - len(call["normalized_shape"]), x.dim())
    name = "rms_norm" if "rms" in call.name else "layer_norm"
    return Facts(name, "norm", (over(call, x, dims), *all_of(call)), Counts(norm=3 * call.numel))


@rule("native_group_norm group_norm")
def group_norm(call: Call) -> Facts:
    """Group norm: over the channels of a group and all positions."""
    x = call["input"]
    groups = call.get("group") or call.get("num_groups")
    channels = x.shape[1]
    changed = {1: grouped(channels, channels, groups)} | {a: whole(x.shape[a]) for a in range(2, x.dim())}
    return Facts("group_norm", "norm", (same(call, x, changed), *all_of(call)), Counts(norm=3 * call.numel))
