"""Rules of pooling, unpooling and interpolation."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from math import floor, gcd

from striate.geometry.graph import Counts
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, whole
from striate.geometry.rules.base import Call, Facts, over, rule, same
from striate.geometry.rules.products import nth, sliding
from striate.geometry.window import IDENTITY, Window


@cache
def adaptive(size: int, out: int) -> Window:
    """Adaptive pooling: output o reads from floor(o*size/out) up to, not including, ceil((o+1)*size/out)."""
    period = out // gcd(size, out)
    taps = [Indices.span(o * size // out, -(-(o + 1) * size // out) - 1) for o in range(period)]
    return Window.of(size // gcd(size, out), taps)


@rule(
    "max_pool1d max_pool2d max_pool2d_with_indices max_pool3d_with_indices max_pool3d avg_pool1d avg_pool2d "
    "avg_pool3d mkldnn_max_pool2d"
)
def pool(call: Call) -> Facts:
    """Max and average pooling, any rank; ceil mode and padding show in the shape."""
    x = call["self"]
    name = call.name.removeprefix("aten::").removesuffix("_with_indices").removeprefix("mkldnn_")
    rank = int(name[-2])
    kernel = call["kernel_size"]
    strides = call["stride"] or kernel
    axes, taps = [Axis(a, IDENTITY) for a in range(x.dim() - rank)], 1
    for axis in range(rank):
        size = nth(kernel, axis)
        taps *= size
        window = sliding(size, nth(strides, axis), nth(call["padding"], axis), nth(call.get("dilation", 1), axis))
        axes.append(Axis(x.dim() - rank + axis, window))
    return Facts(name, "pooling", (call.read(x, axes),), Counts(pooling=call.numel * taps))


@rule(
    "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "adaptive_max_pool1d adaptive_avg_pool2d adaptive_avg_pool3d"
)
def adaptive_pool(call: Call) -> Facts:
    """Adaptive pooling to a given size."""
    x, shape = call["self"], call.shape
    name = call.name.removeprefix("aten::").removeprefix("_")
    rank = int(name[-2])
    first = x.dim() - rank
    changed = {a: Axis(a, adaptive(x.shape[a], shape[a])) for a in range(first, x.dim())}
    most = math.prod(window.size for _, window in changed.values())
    return Facts(name, "pooling", (same(call, x, changed),), Counts(pooling=call.numel * most))


@rule("max_unpool2d max_unpool3d")
def max_unpool(call: Call) -> Facts:
    """Unpooling: a value may go to any place of the window that its index was taken from."""
    x, indices = call["self"], call["indices"]
    name = call.name.removeprefix("aten::")
    made = next((n for n in call.nodes if call.source(indices) in n.outputs), None)
    pooled = made is not None and made.operation.startswith("max_pool") and call.values[made.inputs[0]].shape
    if pooled != call.shape:  # indices count through rows: in longer ones, they are other places
        anywhere = {a: whole(x.shape[a]) for a in range(2, x.dim())}
        readings = tuple(read for t in (x, indices) for read in same(call, t, anywhere, loose=(-1,)))
        return Facts(name, "resampling", (readings,))
    windows = call.values[call.source(indices)].readings[0].axes
    axes = [Axis(a, window if a < 2 else window.reverse) for a, (_, window) in enumerate(windows)]
    return Facts(name, "resampling", (call.read(x, axes) + call.read(indices, axes),))


@rule("fractional_max_pool2d fractional_max_pool3d")
def fractional_pool(call: Call) -> Facts:
    """Max pooling of windows at random places."""
    x, kernel = call["self"], call["kernel_size"]
    changed = {x.dim() - 1 - a: whole(x.shape[-1 - a]) for a in range(len(kernel))}
    taps = call.numel * math.prod(kernel)
    name = call.name.removeprefix("aten::")
    return Facts(name, "pooling", (same(call, x, changed, loose=(-1,)),), Counts(pooling=taps))


@rule(
    "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d "
    "_upsample_nearest_exact3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa"
)
def interpolate(call: Call) -> Facts:
    """Nearest, linear and cubic interpolation, enlarging or reducing."""
    x, shape = call.get("self", call.get("input")), call.shape
    name = call.name.removeprefix("aten::").removeprefix("_").removesuffix("_aa")
    mode = next(m for m in ("nearest_exact", "nearest", "linear", "cubic") if m in name)
    rank = x.dim() - 2
    factors = call.get("scale_factors") or [
        call.get(f"scales{s}") for s in (["_d", "_h", "_w"][-rank:] if rank > 1 else [""])
    ]
    aligned, smooth = bool(call.get("align_corners")), call.name.endswith("_aa")
    if 0 in shape:
        raise ValueError(f"nothing is left of {'x'.join(map(str, x.shape[2:]))} positions")
    changed = {}
    for axis in range(rank):
        size, out, factor = x.shape[2 + axis], shape[2 + axis], factors[axis]
        window = resampling(size, out, factor and Fraction(factor).limit_denominator(1 << 16), mode, aligned, smooth)
        changed[2 + axis] = Axis(2 + axis, window)
    return Facts(f"interpolate_{mode}", "resampling", (same(call, x, changed),))


@cache
def resampling(size: int, out: int, factor: Fraction | None, mode: str, aligned: bool, smooth: bool) -> Window:
    """The window of an interpolation from `size` to `out` positions (by `factor`, where the sizes do not say)."""
    ratio = 1 / factor if factor else Fraction(size, out)
    if aligned:
        ratio = Fraction(size - 1, out - 1) if out > 1 else Fraction(0)
    period = min(ratio.denominator, out) if ratio else 1
    taps = []
    for o in range(period):
        at = ratio * o if aligned else ratio * (o + Fraction(1, 2)) - Fraction(1, 2)
        if mode == "nearest":
            taps.append(Indices(min(floor(ratio * o), size - 1), 1))
        elif mode == "nearest_exact":
            taps.append(Indices(floor(at + Fraction(1, 2)), 1))
        elif smooth:
            reach = max(ratio, Fraction(1)) * (1 if mode == "linear" else 2)
            middle = ratio * (o + Fraction(1, 2))
            taps.append(
                Indices.span(floor(middle - reach + Fraction(1, 2)), floor(middle + reach + Fraction(1, 2)) - 1)
            )
        elif at.denominator == 1:
            taps.append(Indices(int(at), 1))
        else:
            taps.append(Indices.span(floor(at) - (mode == "cubic"), floor(at) + (2 if mode == "cubic" else 1)))
    return Window.of(ratio.numerator if period == ratio.denominator else size, taps)


@rule("grid_sampler_2d grid_sampler_3d")
def grid_sample(call: Call) -> Facts:
    """Sampling where a grid says: anywhere."""
    x, grid = call["input"], call["grid"]
    changed = {a: whole(x.shape[a]) for a in range(2, x.dim())}
    readings = same(call, x, changed, loose=(-1,))
    drivers = [0, *range(2, x.dim())]
    axes = [Axis(drivers[a], IDENTITY) for a in range(grid.dim() - 1)]
    return Facts("grid_sample", "resampling", (readings + call.read(grid, [*axes, whole(grid.shape[-1])]),))


@rule("affine_grid_generator")
def affine_grid(call: Call) -> Facts:
    """Places to sample at: the last axis of the grid is the row of the matrix that makes it."""
    theta = call["theta"]
    axes = [Axis(0, IDENTITY), Axis(len(call.shape) - 1, IDENTITY), whole(theta.shape[2])]
    return Facts("affine_grid", "resampling", (call.read(theta, axes),))


@rule("im2col col2im")
def columns(call: Call) -> Facts:
    """Patches as columns and back (F.unfold, F.fold): read as a whole, but for the batch."""
    x = call["self"]
    lead = x.dim() - (3 if call.name == "aten::im2col" else 2)
    readings = over(call, x, range(lead, x.dim()), loose=(-1,))
    return Facts("unfold" if "im2col" in call.name else "fold", "shape", (readings,))
