"""Rules of activations, arithmetic, copies and reductions."""

from __future__ import annotations

import torch

from striate.geometry.graph import Counts
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, broadcast, whole
from striate.geometry.rules.base import PHASES, Call, Facts, over, pointwise, reduced, rule, same
from striate.geometry.window import Window

# In-place forms that read nothing of what was there.
FILLINGS = ("zero", "fill", "normal", "exponential", "random", "geometric", "cauchy", "log_normal", "uniform")

# Activations and arithmetic


@rule(
    "relu relu6 hardtanh leaky_relu rrelu rrelu_with_noise elu celu gelu silu mish sigmoid tanh hardswish "
    "hardsigmoid softplus softshrink hardshrink log_sigmoid log_sigmoid_forward threshold prelu _prelu_kernel"
)
def activation(call: Call) -> Facts:
    """Activations that map each value alone."""
    name = call.name.removeprefix("aten::").strip("_").removesuffix("_kernel").removesuffix("_forward")
    return Facts(name, "activation", pointwise(call), Counts(activation=call.numel))


@rule("_softmax softmax _log_softmax log_softmax _safe_softmax")
def softmax(call: Call) -> Facts:
    """Softmax: over the whole of one axis."""
    name = "log_softmax" if "log" in call.name else "softmax"
    return Facts(name, "activation", (over(call, call["self"], [call["dim"]]),), Counts(activation=call.numel))


@rule("glu")
def glu(call: Call) -> Facts:
    """One half of an axis gates the other."""
    x = call["self"]
    dim = call["dim"] % x.dim()
    half = x.shape[dim] // 2
    return Facts(
        "glu",
        "activation",
        (same(call, x, {dim: Axis(dim, Window(1, 0, half, step=half))}),),
        Counts(activation=call.numel),
    )


@rule(
    "pointwise native_dropout bernoulli dropout where masked_fill add sub mul div rsub pow clamp complex polar tril "
    "triu poisson normal"
)
def elementwise(call: Call) -> Facts:
    """Arithmetic between values, position by position."""
    name = call.name.removeprefix("aten::").rstrip("_")
    return Facts(name, "elementwise", pointwise(call), Counts(elementwise=call.numel))


@rule(
    "clone _to_copy contiguous detach alias lift_fresh copy to _conj _neg_view ones_like zeros_like empty_like "
    "rand_like randn_like full_like randint_like new_zeros new_ones new_full "
    "new_empty new_empty_strided lift zero fill normal_ exponential random geometric cauchy log_normal uniform"
)
def copy(call: Call) -> Facts:
    """Copies; and tensors made in the likeness of another, which read nothing."""
    name = call.name.removeprefix("aten::").strip("_")
    if name.endswith("_like") or name.startswith("new_") or name in FILLINGS:
        return Facts(name, "shape", ((),))
    if name == "copy":
        source = call["src"]
        read = (broadcast(call.source(source), tuple(source.shape), call.shape),) if call.source(source) >= 0 else ()
        return Facts(name, "shape", (read,))
    return Facts("to" if name == "to_copy" else name, "shape", pointwise(call))


@rule(
    "mean sum amax amin max min prod var std var_mean std_mean logsumexp norm linalg_vector_norm all any argmax "
    "argmin median mode nansum count_nonzero aminmax kthvalue"
)
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


@rule("cumsum cumprod cummax cummin logcumsumexp")
def cumulative(call: Call) -> Facts:
    """Each position reads those up to itself."""
    x = call["self"]
    dim = call["dim"] % max(x.dim(), 1)
    size = x.shape[dim]
    seen = Axis(dim, Window.of(size, [Indices.span(0, i) for i in range(size)])) if size <= PHASES else whole(size)
    return Facts(
        call.name.removeprefix("aten::"), "other", (same(call, x, {dim: seen}),), Counts(elementwise=call.numel)
    )


@rule("multinomial")
def multinomial(call: Call) -> Facts:
    """Draws by weights along the last axis."""
    return Facts("multinomial", "other", (over(call, call["self"], [-1]),))


@rule("_fft_r2c _fft_c2r _fft_c2c")
def fourier(call: Call) -> Facts:
    """Fourier transforms: each result reads the whole of the axes that are transformed."""
    return Facts("fft", "other", (over(call, call["self"], call["dim"]),), Counts(elementwise=call.numel))


@rule("sort argsort topk renorm")
def ordering(call: Call) -> Facts:
    """Sorting and choosing along an axis: each result may come from anywhere on it."""
    return Facts(call.name.removeprefix("aten::"), "other", (over(call, call["self"], [call.get("dim", -1)]),))
