"""One rule an operation: how its outputs read its inputs, and what it counts.

A rule is a function from a `Call` to `Facts`, registered under the operation's name in torch's core (`aten::relu`; an
in-place form has the rule of the plain one). Operations that torch itself marks as pointwise need none. To add one:

    from striate.geometry import Facts, pointwise, rule

    @rule("mylib::my_activation")
    def my_activation(call):
        return Facts("my_activation", "activation", pointwise(call))
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from math import ceil, floor, gcd
from typing import Any

import torch

from striate.errors import InputError
from striate.geometry.graph import Counts, Node, Value
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, Read, Reading, Reshape, Shape, broadcast, only, whole
from striate.geometry.window import IDENTITY, Window
from striate.registry import Registry

# Patterns are written out phase by phase up to this many; a longer one is read as the whole axis.
PHASES = 4096

Readings = tuple[Reading, ...]


@dataclass(frozen=True)
class Facts:
    """What a rule says of one call: the operation's name for people, its kind, readings and counts.

    `readings` has one tuple for each output; the last serves the outputs after it, too.
    `kind`: convolution, linear, norm, activation, pooling, resampling, elementwise, shape or other.
    """

    operation: str
    kind: str
    readings: tuple[Readings, ...]
    counts: Counts = field(default_factory=Counts)


class Call:
    """An operation that was executed: its arguments by their names in the schema, its outputs, and the graph so far."""

    def __init__(
        self,
        func: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        outputs: Sequence[torch.Tensor],
        values: Sequence[Value],
        nodes: Sequence[Node],
        known: Mapping[int, int],
    ) -> None:
        self.func, self.outputs, self.values, self.nodes, self._known = func, outputs, values, nodes, known
        self.name: str = func._schema.name
        self._args, self._kwargs = args, kwargs

    def __getitem__(self, name: str) -> Any:
        for position, (argument, default) in enumerate(_arguments(self.func)):
            if argument == name:
                return self._args[position] if position < len(self._args) else self._kwargs.get(name, default)
        raise KeyError(f"{self.name} has no argument {name}")

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self[name] if any(argument == name for argument, _ in _arguments(self.func)) else default

    def source(self, tensor: torch.Tensor) -> int:
        """The value that a tensor is; -1 where it does not depend on the network's input."""
        return self._known.get(id(tensor), -1)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Tensor arguments that depend on the network's input, those in lists included."""
        found: list[torch.Tensor] = []
        for argument in (*self._args, *self._kwargs.values()):
            for tensor in argument if isinstance(argument, tuple | list) else (argument,):
                if isinstance(tensor, torch.Tensor) and self.source(tensor) >= 0:
                    found.append(tensor)
        return found

    @property
    def shape(self) -> Shape:
        """Shape of the first output."""
        return tuple(self.outputs[0].shape)

    @property
    def numel(self) -> int:
        """Values in the first output, of one item."""
        return self.outputs[0].numel()

    def read(self, tensor: torch.Tensor, axes: Sequence[Axis], **limits: Any) -> Readings:
        """The reading of a tensor by these windows; none where it does not depend on the input."""
        source = self.source(tensor)
        return (Read(source, tuple(axes), **limits),) if source >= 0 else ()


@cache
def _arguments(func: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((a.name, a.default_value if a.has_default_value() else None) for a in func._schema.arguments)


@dataclass(frozen=True)
class Rule:
    """The registered function of one operation."""

    name: str
    function: Callable[[Call], Facts]


RULES: Registry[Rule] = Registry("operation")


def rule(*names: str) -> Callable[[Callable[[Call], Facts]], Callable[[Call], Facts]]:
    """Register the decorated function for these operations (`aten::relu`, `mylib::op`)."""

    def register(function: Callable[[Call], Facts]) -> Callable[[Call], Facts]:
        for name in names:
            RULES.add(Rule(name, function))
        return function

    return register


# What counts even where it works on parameters alone.
PRODUCTS = {f"aten::{name}" for name in ("convolution", "addmm", "mm", "bmm", "baddbmm")}


def facts_of(call: Call, where: str) -> Facts:
    """What the rule of an operation says; InputError where there is none."""
    function = _rule_for(call.func)
    if function is None:
        raise InputError(
            "no rule says how an operation reads its inputs",
            where=where,
            got=call.name,
            fix=f'Add one: @striate.geometry.rule("{call.name}") on a function from Call to Facts '
            "(pointwise, reduced and the other readings are in striate.geometry.rules).",
        )
    return function(call)


@cache
def _rule_for(func: Any) -> Callable[[Call], Facts] | None:
    name = func._schema.name
    for known in (name, name.rstrip("_")):
        if known in RULES:
            return RULES[known].function
    return elementwise if torch.Tag.pointwise in func.tags else None


def writes(call: Call) -> set[int]:
    """The ids of the tensors that a call writes in place."""
    if not call.func._schema.is_mutable:
        return set()
    written = set()
    for argument in call.func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = call[argument.name]
            written |= {id(t) for t in (value if isinstance(value, tuple | list) else (value,))}
    return written


# How outputs read inputs: the forms that most rules share


def pointwise(call: Call) -> tuple[Readings, ...]:
    """Position by position, with broadcasting, every argument."""
    made = []
    for output in call.outputs:
        shape = tuple(output.shape)
        made.append(tuple(broadcast(call.source(t), tuple(t.shape), shape) for t in call.tensors))
    return tuple(made)


def same(call: Call, tensor: torch.Tensor, changed: Mapping[int, Axis], **limits: Any) -> Readings:
    """Axis by axis the same position, but for the axes that are `changed`."""
    axes = [changed.get(axis, Axis(axis, IDENTITY)) for axis in range(tensor.dim())]
    return call.read(tensor, axes, **limits)


def over(call: Call, tensor: torch.Tensor, dims: Sequence[int]) -> Readings:
    """As `same`, with these axes read as a whole (softmax, norms, sorting)."""
    return same(call, tensor, {d % tensor.dim(): whole(tensor.shape[d]) for d in dims})


def reduced(call: Call, tensor: torch.Tensor, dims: Sequence[int] | None, keepdim: bool) -> Readings:
    """These axes (all, where None) are read as a whole and go, or stay with size 1; the others stay."""
    gone = {d % max(tensor.dim(), 1) for d in (dims if dims else range(tensor.dim()))}
    axes, driver = [], 0
    for axis, size in enumerate(tensor.shape):
        if axis not in gone:
            axes.append(Axis(driver, IDENTITY))
        elif keepdim:
            axes.append(Axis(driver, Window(size, 0, size - 1)))
        else:
            axes.append(whole(size))
        driver += keepdim or axis not in gone
    return call.read(tensor, axes)


def all_of(call: Call) -> tuple[Readings, ...]:
    """Every output reads everything: never too little."""
    return (tuple(Read(call.source(t), tuple(whole(size) for size in t.shape)) for t in call.tensors),)


def sliding(kernel: int, stride: int, padding: int, dilation: int = 1) -> Window:
    """The window of a convolution or pooling on one axis."""
    return _sliding(kernel, stride, padding, dilation)


@cache
def _sliding(kernel: int, stride: int, padding: int, dilation: int) -> Window:
    return Window(stride, -padding, dilation * (kernel - 1) - padding, step=dilation)


@cache
def transposed(kernel: int, stride: int, padding: int, dilation: int) -> Window:
    """The window of a transposed convolution: that of the convolution, reversed."""
    return _sliding(kernel, stride, padding, dilation).reverse


@cache
def adaptive(size: int, out: int) -> Window:
    """Adaptive pooling: output o reads from floor(o*size/out) up to, not including, ceil((o+1)*size/out)."""
    period = out // gcd(size, out)
    taps = [Indices.span(o * size // out, -(-(o + 1) * size // out) - 1) for o in range(period)]
    return Window.of(size // gcd(size, out), taps)


# Convolutions and matrix products


@rule("aten::convolution", "aten::_convolution", "aten::convolution_overrideable")
def convolution(call: Call) -> Facts:
    """Convolution and transposed convolution, any rank, groups, dilation."""
    x, weight = call["input"], call["weight"]
    rank, groups, turned = x.dim() - 2, call["groups"], call["transposed"]
    channels = weight.shape[0] if turned else weight.shape[1] * groups
    out_channels = call.outputs[0].shape[1]
    axes = [Axis(0, IDENTITY), grouped(channels, out_channels, groups)]
    for axis in range(rank):
        setting = [_nth(call[key], axis) for key in ("stride", "padding", "dilation")]
        window = (transposed if turned else _sliding)(weight.shape[2 + axis], *setting)
        axes.append(Axis(2 + axis, window))
    positions = x if turned else call.outputs[0]
    macs = positions.shape[0] * math.prod(positions.shape[2:]) * weight.numel()
    bias = call.numel if call["bias"] is not None else 0
    readings = call.read(x, axes)
    if call.source(weight) >= 0:
        readings += tuple(Read(call.source(weight), tuple(whole(size) for size in weight.shape)) for _ in "w")
    name = f"conv{'_transpose' * turned}{rank}d"
    return Facts(name, "convolution", (readings,), Counts(macs=macs, bias=bias))


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


def _nth(values: Any, axis: int) -> int:
    """An option of an axis, where one number stands for all of them."""
    return int(values[min(axis, len(values) - 1)] if isinstance(values, tuple | list) else values)


@rule("aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm", "aten::matmul", "aten::linear")
def product(call: Call) -> Facts:
    """Matrix products; one with a matrix of parameters is a linear layer."""
    added = call.name in ("aten::addmm", "aten::baddbmm")
    names = {"aten::addmm": ("mat1", "mat2"), "aten::baddbmm": ("batch1", "batch2"), "aten::linear": ("input", "weight")}
    left, right = (call[key] for key in names.get(call.name, ("self", "mat2" if call.name != "aten::matmul" else "other")))
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


@rule("aten::mv", "aten::dot", "aten::addmv")
def vector_product(call: Call) -> Facts:
    """Products with a vector."""
    readings = all_of(call)
    if call.name == "aten::mv" and call.source(call["self"]) >= 0:
        readings = (call.read(call["self"], [Axis(0, IDENTITY), whole(call["self"].shape[1])]),)
    length = (call["mat"] if call.name == "aten::addmv" else call["self"]).shape[-1]
    return Facts("matmul", "linear", readings, Counts(macs=call.numel * length))


@rule(
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_attention_math",
    "aten::_scaled_dot_product_fused_attention_overrideable",
    "aten::_scaled_dot_product_cudnn_attention",
    "aten::scaled_dot_product_attention",
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
    pairs = math.prod(query.shape[:-1]) * key.shape[-2]
    return Facts("attention", "attention", (readings,), Counts(macs=pairs * (query.shape[-1] + value.shape[-1])))


# Norms


@rule("aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_native_batch_norm_legit_no_training",
      "aten::batch_norm", "aten::_batch_norm_with_update", "aten::_batch_norm_no_update", "aten::cudnn_batch_norm",
      "aten::miopen_batch_norm")  # fmt: skip
def batch_norm(call: Call) -> Facts:
    """Batch norm: position by position with stored statistics, over the batch and all positions without."""
    x = call["input"]
    batch = call.get("training", call.name == "aten::_batch_norm_with_update")
    dims = [axis for axis in range(x.dim()) if axis != 1] if batch else []
    return Facts("batch_norm", "norm", (over(call, x, dims), *all_of(call)), Counts(norm=call.numel * (3 if batch else 1)))


@rule("aten::native_layer_norm", "aten::layer_norm", "aten::_fused_rms_norm", "aten::rms_norm")
def layer_norm(call: Call) -> Facts:
    """Layer norm and RMS norm, over the last axes."""
    x = call["input"]
    dims = range(x.dim() - len(call["normalized_shape"]), x.dim())
    name = "rms_norm" if "rms" in call.name else "layer_norm"
    return Facts(name, "norm", (over(call, x, dims), *all_of(call)), Counts(norm=3 * call.numel))


@rule("aten::native_group_norm", "aten::group_norm")
def group_norm(call: Call) -> Facts:
    """Group norm: over the channels of a group and all positions."""
    x = call["input"]
    groups = call.get("group") or call.get("num_groups")
    channels = x.shape[1]
    changed = {1: grouped(channels, channels, groups)} | {a: whole(x.shape[a]) for a in range(2, x.dim())}
    return Facts("group_norm", "norm", (same(call, x, changed), *all_of(call)), Counts(norm=3 * call.numel))


# Pooling


@rule("aten::max_pool1d", "aten::max_pool2d", "aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices",
      "aten::max_pool3d", "aten::avg_pool1d", "aten::avg_pool2d", "aten::avg_pool3d", "aten::mkldnn_max_pool2d")  # fmt: skip
def pool(call: Call) -> Facts:
    """Max and average pooling, any rank; ceil mode and padding show in the shape."""
    x = call["self"]
    name = call.name.removeprefix("aten::").removesuffix("_with_indices").removeprefix("mkldnn_")
    rank = int(name[-2])
    kernel = call["kernel_size"]
    strides = call["stride"] or kernel
    axes, taps = [Axis(a, IDENTITY) for a in range(x.dim() - rank)], 1
    for axis in range(rank):
        size = _nth(kernel, axis)
        taps *= size
        window = _sliding(size, _nth(strides, axis), _nth(call["padding"], axis), _nth(call.get("dilation", 1), axis))
        axes.append(Axis(x.dim() - rank + axis, window))
    return Facts(name, "pooling", (call.read(x, axes),), Counts(pooling=call.numel * taps))


@rule("aten::_adaptive_avg_pool2d", "aten::_adaptive_avg_pool3d", "aten::adaptive_avg_pool1d", "aten::adaptive_max_pool2d",
      "aten::adaptive_max_pool3d", "aten::adaptive_max_pool1d", "aten::adaptive_avg_pool2d", "aten::adaptive_avg_pool3d")  # fmt: skip
def adaptive_pool(call: Call) -> Facts:
    """Adaptive pooling to a given size."""
    x, shape = call["self"], call.shape
    name = call.name.removeprefix("aten::").removeprefix("_")
    rank = int(name[-2])
    first = x.dim() - rank
    changed = {a: Axis(a, adaptive(x.shape[a], shape[a])) for a in range(first, x.dim())}
    most = math.prod(window.size for _, window in changed.values())
    return Facts(name, "pooling", (same(call, x, changed),), Counts(pooling=call.numel * most))


@rule("aten::max_unpool2d", "aten::max_unpool3d")
def max_unpool(call: Call) -> Facts:
    """Unpooling: a value may go to any place of the window that its index was taken from."""
    x, indices = call["self"], call["indices"]
    made = next((n for n in call.nodes if call.source(indices) in n.outputs), None)
    if made is not None and made.operation.startswith("max_pool"):
        pooled = call.values[call.source(indices)].readings[0]
        axes = [Axis(a, window if a < 2 else window.reverse) for a, (_, window) in enumerate(pooled.axes)]
    else:
        axes = [Axis(a, IDENTITY) if a < 2 else whole(size) for a, size in enumerate(x.shape)]
    readings = call.read(x, axes) + call.read(indices, axes)
    return Facts(call.name.removeprefix("aten::"), "resampling", (readings,))


# Resampling


@rule(*(f"aten::{name}" for name in (
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)))  # fmt: skip
def interpolate(call: Call) -> Facts:
    """Nearest, linear and cubic interpolation, enlarging or reducing."""
    x, shape = call.get("self", call.get("input")), call.shape
    name = call.name.removeprefix("aten::").removeprefix("_").removesuffix("_aa")
    mode = next(m for m in ("nearest_exact", "nearest", "linear", "cubic") if m in name)
    rank = x.dim() - 2
    factors = call.get("scale_factors") or [call.get(f"scales{s}") for s in (["_d", "_h", "_w"][-rank:] if rank > 1 else [""])]
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
            taps.append(Indices.span(floor(middle - reach + Fraction(1, 2)), floor(middle + reach + Fraction(1, 2)) - 1))
        elif at.denominator == 1:
            taps.append(Indices(int(at), 1))
        else:
            taps.append(Indices.span(floor(at) - (mode == "cubic"), floor(at) + (2 if mode == "cubic" else 1)))
    return Window.of(ratio.numerator if period == ratio.denominator else size, taps)


@rule("aten::pixel_shuffle", "aten::pixel_unshuffle")
def pixel_shuffle(call: Call) -> Facts:
    """Channels into positions and back."""
    x, up = call["self"], call.name == "aten::pixel_shuffle"
    f = call["upscale_factor" if up else "downscale_factor"]
    lead = x.dim() - 3
    window = Window(f, 0, f - 1).reverse if up else Window(f, 0, f - 1)
    channel = Window(f * f, 0, f * f - 1) if up else Window.of(1, [Indices(0, 1)] * (f * f))
    changed = {lead: Axis(lead, channel)} | {lead + 1 + a: Axis(lead + 1 + a, window) for a in (0, 1)}
    return Facts(call.name.removeprefix("aten::"), "resampling", (same(call, x, changed),))


@rule("aten::grid_sampler_2d", "aten::grid_sampler_3d")
def grid_sample(call: Call) -> Facts:
    """Sampling where a grid says: anywhere."""
    x, grid = call["input"], call["grid"]
    changed = {a: whole(x.shape[a]) for a in range(2, x.dim())}
    readings = same(call, x, changed)
    drivers = [0, *range(2, x.dim())]
    axes = [Axis(drivers[a], IDENTITY) for a in range(grid.dim() - 1)]
    return Facts("grid_sample", "resampling", (readings + call.read(grid, [*axes, whole(grid.shape[-1])]),))


@rule("aten::im2col", "aten::col2im")
def columns(call: Call) -> Facts:
    """Patches as columns and back (F.unfold, F.fold): read as a whole, but for the batch."""
    x = call["self"]
    lead = x.dim() - (3 if call.name == "aten::im2col" else 2)
    return Facts(
        "unfold" if "im2col" in call.name else "fold", "shape", (over(call, x, range(lead, x.dim())),)
    )


# Activations and arithmetic

ACTIVATIONS = (
    "relu relu6 hardtanh leaky_relu rrelu rrelu_with_noise elu celu gelu silu mish sigmoid tanh hardswish hardsigmoid "
    "softplus softshrink hardshrink log_sigmoid log_sigmoid_forward threshold prelu _prelu_kernel"
).split()


@rule(*(f"aten::{name}" for name in ACTIVATIONS))
def activation(call: Call) -> Facts:
    """Activations that map each value alone."""
    name = call.name.removeprefix("aten::").strip("_").removesuffix("_kernel").removesuffix("_forward")
    return Facts(name, "activation", pointwise(call), Counts(activation=call.numel))


@rule("aten::_softmax", "aten::softmax", "aten::_log_softmax", "aten::log_softmax", "aten::_safe_softmax")
def softmax(call: Call) -> Facts:
    """Softmax: over the whole of one axis."""
    name = "log_softmax" if "log" in call.name else "softmax"
    return Facts(name, "activation", (over(call, call["self"], [call["dim"]]),), Counts(activation=call.numel))


@rule("aten::glu")
def glu(call: Call) -> Facts:
    """One half of an axis gates the other."""
    x = call["self"]
    dim = call["dim"] % x.dim()
    half = x.shape[dim] // 2
    return Facts(
        "glu", "activation", (same(call, x, {dim: Axis(dim, Window(1, 0, half, step=half))}),), Counts(activation=call.numel)
    )


def elementwise(call: Call) -> Facts:
    """Arithmetic between values, position by position."""
    name = call.name.removeprefix("aten::").rstrip("_")
    return Facts(name, "elementwise", pointwise(call), Counts(elementwise=call.numel))


@rule("aten::native_dropout", "aten::bernoulli", "aten::dropout", "aten::where", "aten::masked_fill", "aten::add",
      "aten::sub", "aten::mul", "aten::div", "aten::rsub", "aten::pow", "aten::clamp")  # fmt: skip
def arithmetic(call: Call) -> Facts:
    """Operations that are pointwise in all their forms."""
    return elementwise(call)


@rule("aten::clone", "aten::_to_copy", "aten::contiguous", "aten::detach", "aten::alias", "aten::lift_fresh",
      "aten::copy", "aten::to", "aten::view_as_real", "aten::ones_like", "aten::zeros_like", "aten::empty_like",
      "aten::rand_like", "aten::randn_like", "aten::full_like", "aten::new_zeros", "aten::new_ones", "aten::new_full",
      "aten::new_empty", "aten::new_empty_strided", "aten::zero", "aten::fill", "aten::lift")  # fmt: skip
def copy(call: Call) -> Facts:
    """Copies; and tensors made in the likeness of another, which read nothing."""
    name = call.name.removeprefix("aten::").strip("_")
    if name.endswith("_like") or name.startswith("new_") or name in ("zero", "fill"):
        return Facts(name, "shape", ((),))
    if name == "copy":
        source = call["src"]
        read = (broadcast(call.source(source), tuple(source.shape), call.shape),) if call.source(source) >= 0 else ()
        return Facts(name, "shape", (read,))
    return Facts("to" if name == "to_copy" else name, "shape", pointwise(call))


# Reductions


@rule("aten::mean", "aten::sum", "aten::amax", "aten::amin", "aten::max", "aten::min", "aten::prod", "aten::var",
      "aten::std", "aten::var_mean", "aten::std_mean", "aten::logsumexp", "aten::norm", "aten::linalg_vector_norm",
      "aten::all", "aten::any", "aten::argmax", "aten::argmin", "aten::median", "aten::mode", "aten::nansum",
      "aten::count_nonzero", "aten::aminmax", "aten::kthvalue")  # fmt: skip
def reduction(call: Call) -> Facts:
    """Reductions over some axes or all; `max(a, b)` of two tensors is pointwise."""
    name = call.name.removeprefix("aten::").removeprefix("linalg_")
    if isinstance(call.get("other"), torch.Tensor):
        return elementwise(call)
    x = call["self"]
    dims = call.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    keepdim = bool(call.get("keepdim", False))
    kind = "pooling" if name in ("mean", "amax", "max", "sum") else "other"
    return Facts(name, kind, (reduced(call, x, dims, keepdim),), Counts(pooling=x.numel()))


@rule("aten::cumsum", "aten::cumprod", "aten::cummax", "aten::cummin", "aten::logcumsumexp")
def cumulative(call: Call) -> Facts:
    """Each position reads those up to itself."""
    x = call["self"]
    dim = call["dim"] % max(x.dim(), 1)
    size = x.shape[dim]
    seen = Axis(dim, Window.of(size, [Indices.span(0, i) for i in range(size)])) if size <= PHASES else whole(size)
    return Facts(call.name.removeprefix("aten::"), "other", (same(call, x, {dim: seen}),), Counts(elementwise=call.numel))


@rule("aten::sort", "aten::argsort", "aten::topk", "aten::renorm")
def ordering(call: Call) -> Facts:
    """Sorting and choosing along an axis: each result may come from anywhere on it."""
    return Facts(call.name.removeprefix("aten::"), "other", (over(call, call["self"], [call.get("dim", -1)]),))


# Shapes


@rule("aten::view", "aten::_unsafe_view", "aten::reshape", "aten::squeeze", "aten::unsqueeze", "aten::_reshape_alias",
      "aten::flatten", "aten::unflatten", "aten::_reshape_copy", "aten::view_copy")  # fmt: skip
def reshape(call: Call) -> Facts:
    """The same numbers under another shape."""
    x = call["self"]
    name = call.name.removeprefix("aten::").removeprefix("_unsafe_").strip("_")
    source = call.source(x)
    return Facts(name, "shape", ((Reshape(source, tuple(x.shape), call.shape),),) if source >= -1 else ((),))


@rule("aten::permute", "aten::transpose", "aten::t", "aten::movedim", "aten::numpy_T", "aten::adjoint")
def permute(call: Call) -> Facts:
    """Axes in another order."""
    x = call["self"]
    order = list(range(x.dim()))
    if call.name == "aten::permute":
        order = [d % x.dim() for d in call["dims"]]
    elif x.dim() > 1:
        a, b = (call["dim0"], call["dim1"]) if call.name == "aten::transpose" else (0, 1)
        order[a], order[b] = order[b], order[a]
    axes = [Axis(order.index(axis), IDENTITY) for axis in range(x.dim())]
    return Facts("permute", "shape", (view_of(call, x, axes),))


def view_of(call: Call, tensor: torch.Tensor, axes: Sequence[Axis], **limits: Any) -> Readings:
    """A reading that is noted even where the tensor does not depend on the input: it may be written through later."""
    return (Read(call.source(tensor), tuple(axes), **limits),)


@rule("aten::expand", "aten::broadcast_to", "aten::expand_as")
def expand(call: Call) -> Facts:
    """Axes of size 1 repeated."""
    x = call["self"]
    return Facts("expand", "shape", ((broadcast(call.source(x), tuple(x.shape), call.shape),),))


@rule("aten::slice", "aten::narrow")
def slicing(call: Call) -> Facts:
    """Every step-th index from start on."""
    x = call["self"]
    dim, size = call["dim"] % x.dim(), x.shape[call["dim"]]
    start = call["start"] or 0
    start = max(0, min(size, start + size if start < 0 else start))
    step = call.get("step") or 1
    axes = [Axis(a, Window(step, start) if a == dim else IDENTITY) for a in range(x.dim())]
    return Facts("slice", "shape", (view_of(call, x, axes),))


@rule("aten::select", "aten::unbind")
def selecting(call: Call) -> Facts:
    """One index of an axis (unbind: each in turn); the axis goes."""
    x = call["self"]
    dim = call["dim"] % x.dim()
    indices = [call["index"]] if call.name == "aten::select" else range(x.shape[dim])
    readings = []
    for index in indices:
        axes = [Axis(a - (a > dim), IDENTITY) for a in range(x.dim())]
        axes[dim] = only(index % x.shape[dim])
        readings.append(view_of(call, x, axes))
    return Facts("select", "shape", tuple(readings))


@rule("aten::split", "aten::split_with_sizes", "aten::chunk", "aten::unsafe_split", "aten::unsafe_chunk",
      "aten::unsafe_split_with_sizes", "aten::tensor_split")  # fmt: skip
def splitting(call: Call) -> Facts:
    """Consecutive parts of an axis."""
    x = call["self"]
    dim = call["dim"] % x.dim()
    readings, start = [], 0
    for output in call.outputs:
        axes = [Axis(a, Window(1, start) if a == dim else IDENTITY) for a in range(x.dim())]
        readings.append(view_of(call, x, axes))
        start += output.shape[dim]
    return Facts("split", "shape", tuple(readings))


@rule("aten::diagonal", "aten::as_strided", "aten::unfold")
def strided(call: Call) -> Facts:
    """Views that walk through memory: overlapping windows along an axis; others are read as a whole."""
    x = call["self"]
    if call.name == "aten::unfold":
        dim = call["dimension"] % x.dim()
        axes = [Axis(a, IDENTITY) for a in range(x.dim())]
        axes[dim] = Axis(dim, Window(call["step"], 0, call["size"] - 1))
        return Facts("unfold", "shape", (view_of(call, x, axes),))
    return Facts(call.name.removeprefix("aten::"), "shape", (view_of(call, x, [whole(size) for size in x.shape]),))


@rule("aten::cat", "aten::concat")
def concatenate(call: Call) -> Facts:
    """One after the other along an axis: what lies before or after a part is not in it."""
    readings: Readings = ()
    start = 0
    for tensor in call["tensors"]:
        if tensor.dim() == 1 and not tensor.numel():
            continue
        dim = call["dim"] % tensor.dim()
        limit = ((dim, start, start + tensor.shape[dim] - 1),)
        readings += same(call, tensor, {dim: Axis(dim, Window(1, -start))}, outputs=limit)
        start += tensor.shape[dim]
    return Facts("cat", "shape", (readings,))


@rule("aten::stack")
def stack(call: Call) -> Facts:
    """One after the other along a new axis."""
    readings: Readings = ()
    for index, tensor in enumerate(call["tensors"]):
        dim = call["dim"] % (tensor.dim() + 1)
        axes = [Axis(a + (a >= dim), IDENTITY) for a in range(tensor.dim())]
        readings += call.read(tensor, axes, outputs=((dim, index, index),))
    return Facts("stack", "shape", (readings,))


@rule("aten::constant_pad_nd")
def pad(call: Call) -> Facts:
    """A border of constants (or, with negative numbers, cropping)."""
    x = call["self"]
    changed = {}
    for pair in range(len(call["pad"]) // 2):
        axis = x.dim() - 1 - pair
        changed[axis] = Axis(axis, Window(1, -call["pad"][2 * pair]))
    return Facts("pad", "shape", (same(call, x, changed),))


@rule(*(f"aten::{mode}_pad{rank}d" for mode in ("reflection", "replication") for rank in (1, 2, 3)))
def border_pad(call: Call) -> Facts:
    """A border that mirrors or repeats the edge: a reading for the interior and one for each border."""
    x = call["self"]
    edge = "replication" in call.name
    choices: list[list[tuple[int, Axis, tuple[int, int] | None]]] = []
    for pair in range(len(call["padding"]) // 2):
        axis = x.dim() - 1 - pair
        before, after = call["padding"][2 * pair : 2 * pair + 2]
        size = x.shape[axis]
        left, right = (Window(0, 0), Window(0, size - 1)) if edge else (Window(-1, before), Window(-1, 2 * size - 2 + before))
        pieces: list[tuple[int, Axis, tuple[int, int] | None]] = [(axis, Axis(axis, Window(1, -before)), None)]
        if before > 0:
            pieces.append((axis, Axis(axis, left), (0, before - 1)))
        if after > 0:
            pieces.append((axis, Axis(axis, right), (before + size, before + size + after - 1)))
        choices.append(pieces)
    return Facts("pad", "shape", (_pieces(call, x, choices),))


@rule("aten::roll")
def roll(call: Call) -> Facts:
    """Moved along axes; what leaves at one end comes in at the other."""
    x = call["self"]
    choices: list[list[tuple[int, Axis, tuple[int, int] | None]]] = []
    for by, dim in zip(call["shifts"], call["dims"] or [0], strict=True):
        axis = dim % x.dim()
        size = x.shape[axis]
        by %= size
        pieces: list[tuple[int, Axis, tuple[int, int] | None]] = [(axis, Axis(axis, Window(1, -by)), (by, size - 1))]
        if by:
            pieces.append((axis, Axis(axis, Window(1, size - by)), (0, by - 1)))
        choices.append(pieces)
    if not call["dims"]:
        return Facts("roll", "shape", all_of(call))
    return Facts("roll", "shape", (_pieces(call, x, choices),))


def _pieces(call: Call, x: torch.Tensor, choices: Sequence[Sequence[tuple[int, Axis, Any]]]) -> Readings:
    """Every combination of pieces; those in which none is the first hold at a border."""
    readings: Readings = ()
    for choice in itertools.product(*choices):
        outputs = tuple((axis, *limit) for axis, _, limit in choice if limit is not None)
        border = any(piece is not pieces[0] for piece, pieces in zip(choice, choices, strict=True))
        readings += same(call, x, {axis: piece for axis, piece, _ in choice}, outputs=outputs, border=border)
    return readings


@rule("aten::flip")
def flip(call: Call) -> Facts:
    """Axes turned round."""
    x = call["self"]
    dims = {d % x.dim() for d in call["dims"]}
    return Facts("flip", "shape", (same(call, x, {d: Axis(d, Window(-1, x.shape[d] - 1)) for d in dims}),))


@rule("aten::repeat")
def repeat(call: Call) -> Facts:
    """Copies of the whole, side by side."""
    x, shape = call["self"], call.shape
    ahead = len(shape) - x.dim()
    axes = []
    for axis, size in enumerate(x.shape):
        if shape[axis + ahead] == size:
            axes.append(Axis(axis + ahead, IDENTITY))
        elif size == 1:
            axes.append(only(0))
        elif size <= PHASES:
            axes.append(Axis(axis + ahead, Window.of(0, [Indices(i, 1) for i in range(size)])))
        else:
            axes.append(whole(size))
    return Facts("repeat", "shape", (call.read(x, axes),))


@rule("aten::embedding")
def embedding(call: Call) -> Facts:
    """A row of the table for each index."""
    indices = call["indices"]
    return Facts("embedding", "linear", (same(call, indices, {}),))


@rule("aten::index", "aten::index_select", "aten::_unsafe_index")
def indexing(call: Call) -> Facts:
    """Picking positions by index tensors: exactly where one known index tensor picks along one axis."""
    x = call["self"]
    picks = call["indices"] if call.name != "aten::index_select" else [None] * (call["dim"] % x.dim()) + [call["index"]]
    picked = [axis for axis, index in enumerate(picks) if index is not None]
    readings: Readings = ()
    for axis in picked:
        if call.source(picks[axis]) >= 0:
            readings += (Read(call.source(picks[axis]), tuple(whole(size) for size in picks[axis].shape)),)
    together = picked == list(range(picked[0], picked[-1] + 1))
    spread = max(picks[axis].dim() for axis in picked)
    index = picks[picked[0]]
    axes = []
    for axis, size in enumerate(x.shape):
        if axis not in picked:
            start = picked[0] if together else 0
            driver = axis if together and axis < start else axis - sum(p < axis for p in picked) + spread
            axes.append(Axis(driver, IDENTITY))
        elif len(picked) == 1 and index.dim() == 1 and not index.is_meta and index.dtype == torch.int64 and len(index) <= PHASES:
            taps = [Indices(int(i) % size, 1) for i in index.tolist()]
            axes.append(Axis(axis, Window.of(size, taps)))
        else:
            axes.append(whole(size))
    return Facts("index", "shape", (call.read(x, axes) + readings,))


@rule("aten::gather", "aten::take_along_dim", "aten::scatter", "aten::scatter_add", "aten::index_put", "aten::masked_scatter",
      "aten::index_add", "aten::index_copy", "aten::unique_consecutive", "aten::cdist", "aten::_cdist_forward", "aten::take",
      "aten::_fft_r2c", "aten::_fft_c2r", "aten::_fft_c2c", "aten::linalg_inv_ex", "aten::histc", "aten::bucketize")  # fmt: skip
def anywhere(call: Call) -> Facts:
    """Operations that may read anything: gathering and scattering by indices, Fourier transforms."""
    return Facts(call.name.removeprefix("aten::").removeprefix("_"), "other", all_of(call), Counts(elementwise=call.numel))


def written_through(
    through: Readings, base: int, shape: Shape, view: int, view_shape: Shape
) -> tuple[Readings, Readings]:
    """After a write through a view: how the memory reads what it held, and how it reads what was written."""
    [reading] = through
    if isinstance(reading, Reshape):
        return (), (Reshape(view, reading.after, reading.before),)
    axes: list[Axis] = [only(0)] * len(view_shape)
    outputs: list[tuple[int, int, int]] = []
    kept: list[tuple[int, int, int]] = []
    for axis, (driver, window) in enumerate(reading.axes):
        if driver is None:  # one index was selected
            index = window.taps[0].first
            outputs.append((axis, index, index))
            kept += [(axis, 0, index - 1), (axis, index + 1, shape[axis] - 1)]
            continue
        axes[driver] = Axis(axis, window.reverse)
        first, last = window.at(0).first, window.at(view_shape[driver] - 1).last
        if window.stride == 1:
            kept += [(axis, 0, first - 1), (axis, last + 1, shape[axis] - 1)]
        else:
            kept += [(axis, i, i) for i in range(shape[axis]) if not window.preimage(Indices(i, 1), view_shape[driver])]
    identity = tuple(Axis(axis, IDENTITY) for axis in range(len(reading.axes)))
    stays = tuple(Read(base, identity, (limit,)) for limit in kept if limit[2] >= limit[1])
    return stays, (Read(view, tuple(axes), tuple(outputs)),)


__all__ = ["RULES", "Call", "Facts", "pointwise", "rule"]
