"""DeepLIFT's rules: which functions have their slope, and what others are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from striate.interpret.attribution.halves import Halves
from striate.shapes import Tensor

# Activations that let little or nothing of negative values through.
# fmt: off
RECTIFIERS = frozenset((
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish",
    "softplus", "threshold",
))
# Functions of one variable, position by position.
UNARY = RECTIFIERS | frozenset((
    "sigmoid", "tanh", "logsigmoid", "softsign", "hardtanh", "hardsigmoid", "tanhshrink", "softshrink",
    "hardshrink", "clamp", "clamp_min", "clamp_max", "clip", "exp", "exp2", "expm1", "log", "log1p", "log2", "log10",
    "sqrt", "rsqrt", "reciprocal", "square", "pow", "rpow", "abs", "absolute", "sin", "cos", "erf",
))
# fmt: on


def varies(thing: Any) -> bool:
    """Whether it is a tensor that depends on the input."""
    return isinstance(thing, torch.Tensor) and thing.requires_grad


# Each computes what torch's function of that name does, with its arguments; NotImplemented where no rule is needed
# (linear in what varies), or none is known (across items).


def _maximum(halves: Halves, x: Tensor, other: Tensor) -> Any:
    both = torch.stack([x + torch.zeros_like(other), other + torch.zeros_like(x)], -1)
    return halves.largest(both, both.argmax(-1, keepdim=True)).squeeze(-1)


def _minimum(halves: Halves, x: Tensor, other: Tensor) -> Any:
    return -_maximum(halves, -x, -other)


def _mul(halves: Halves, x: Any, other: Any) -> Any:
    return halves.times(x, other) if varies(x) and varies(other) else NotImplemented


def _matmul(halves: Halves, x: Tensor, other: Tensor) -> Any:
    return halves.times(x, other, torch.matmul) if varies(x) and varies(other) else NotImplemented


def _bmm(halves: Halves, x: Tensor, mat2: Tensor) -> Any:
    return _matmul(halves, x, mat2)


def _div(halves: Halves, x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if not varies(other) or rounding_mode:
        return NotImplemented
    share = halves.rescaled(other, torch.reciprocal)
    return halves.times(x, share) if varies(x) else x * share


def _divided_by(halves: Halves, x: Tensor, other: Any) -> Any:
    return _div(halves, other, x)


def _powers(halves: Halves, x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """exp(x - m) and x - m, of which m is the same for both halves, so that it is no variable."""
    halves.check(x)
    greatest = torch.maximum(*x.detach().amax(dim, keepdim=True).chunk(2)).repeat(2, *[1] * (x.dim() - 1))
    return halves.rescaled(x - greatest, torch.exp), greatest


def _softmax(halves: Halves, x: Tensor, dim: int | None = None, *options: Any, dtype: Any = None) -> Any:
    if dim is None or dim % x.dim() == 0:
        return NotImplemented
    power, _ = _powers(halves, _cast(x, dtype, *options), dim)
    return halves.times(power, halves.rescaled(power.sum(dim, keepdim=True), torch.reciprocal))


def _softmin(halves: Halves, x: Tensor, dim: int | None = None, *options: Any, dtype: Any = None) -> Any:
    return _softmax(halves, -x, dim, *options, dtype=dtype)


def _logsumexp(halves: Halves, x: Tensor, dim: Any, keepdim: bool = False) -> Any:
    if not isinstance(dim, int) or dim % x.dim() == 0:
        return NotImplemented
    power, greatest = _powers(halves, x, dim)
    made = halves.rescaled(power.sum(dim, keepdim=True), torch.log) + greatest
    return made if keepdim else made.squeeze(dim)


def _log_softmax(halves: Halves, x: Tensor, dim: int | None = None, *options: Any, dtype: Any = None) -> Any:
    x = _cast(x, dtype, *options)
    total = _logsumexp(halves, x, dim, keepdim=True)
    return NotImplemented if total is NotImplemented else x - total


def _cast(x: Tensor, *options: Any) -> Tensor:
    """The second argument of the method is the type, that of the function is not."""
    return next((x.to(option) for option in options if isinstance(option, torch.dtype)), x)


def _glu(halves: Halves, x: Tensor, dim: int = -1) -> Any:
    value, gate = x.chunk(2, dim)
    return halves.times(value, halves.rescaled(gate, torch.sigmoid))


def _standardized(halves: Halves, x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centered = x - x.mean(axes, keepdim=True)
    variance = halves.rescaled(centered, torch.square).mean(axes, keepdim=True)
    return halves.times(centered, halves.rescaled(variance + eps, torch.rsqrt))


def _layer_norm(
    halves: Halves, x: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    made = _standardized(halves, x, tuple(range(x.dim() - len(normalized_shape), x.dim())), eps)
    made = made if weight is None else made * weight
    return made if bias is None else made + bias


def _group_norm(
    halves: Halves, x: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    grouped = x.reshape(len(x), num_groups, -1, *x.shape[2:])
    made = _standardized(halves, grouped, tuple(range(2, grouped.dim())), eps).flatten(1, 2)
    each = (-1, *[1] * (x.dim() - 2))
    made = made if weight is None else made * weight.reshape(each)
    return made if bias is None else made + bias.reshape(each)


def _instance_norm(
    halves: Halves,
    x: Tensor,
    running_mean: Any = None,
    running_var: Any = None,  # noqa: ARG001 - torch's names
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> Any:
    measured = running_mean is None or use_input_stats
    return _group_norm(halves, x, x.shape[1], weight, bias, eps) if measured else NotImplemented


def _local_response_norm(
    halves: Halves, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    squares = F.pad(halves.rescaled(x, torch.square).movedim(1, -1), (size // 2, (size - 1) // 2))
    mean = squares.unfold(-1, size, 1).mean(-1).movedim(-1, 1)
    return halves.times(x, halves.rescaled(k + alpha * mean, lambda norm: norm.pow(-beta)))


def _amax(halves: Halves, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    axes = [axis % x.dim() for axis in ((dim,) if isinstance(dim, int) else dim or ())]
    if not axes or 0 in axes:
        return NotImplemented
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    flat = x.permute(*kept, *axes).flatten(len(kept))
    made = halves.largest(flat, flat.argmax(-1, keepdim=True)).squeeze(-1)
    return made.reshape([1 if axis in axes else side for axis, side in enumerate(x.shape)]) if keepdim else made


def _amin(halves: Halves, x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    made = _amax(halves, -x, dim, keepdim)
    return NotImplemented if made is NotImplemented else -made


def _extreme(name: str, pair: Callable[..., Any], along: Callable[..., Any]) -> Callable[..., Any]:
    """torch.max and torch.min: of two tensors, along an axis with the places, of everything."""

    def extreme(halves: Halves, x: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        other = dim if isinstance(dim, torch.Tensor) else other
        if other is not None:
            return pair(halves, x, other)
        if not isinstance(dim, int) or dim % x.dim() == 0:
            return NotImplemented
        made: Callable[..., Any] = getattr(torch.return_types, name)
        return made((along(halves, x, dim, keepdim), getattr(x, name)(dim, keepdim).indices))

    return extreme


def _pooled(pool: Callable[..., Any], rank: int, with_indices: bool) -> Callable[..., Any]:
    """A maximum pooling by the rule for maxima; `pool` returns the places too."""

    def pooled(halves: Halves, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        values, at = pool(x, *args, **kwargs)
        made = halves.largest(x.flatten(-rank), at.flatten(-rank)).reshape(values.shape)
        return (made, at) if with_indices else made

    return pooled


COMPOSED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mul", "multiply", "imul", "rmul"), _mul),
    "matmul": _matmul,
    **dict.fromkeys(("bmm", "mm"), _bmm),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "idiv", "itruediv"), _div),
    **dict.fromkeys(("rdiv", "rtruediv"), _divided_by),
    "softmax": _softmax,
    "softmin": _softmin,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "glu": _glu,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "local_response_norm": _local_response_norm,
    "maximum": _maximum,
    "minimum": _minimum,
    "amax": _amax,
    "amin": _amin,
    "max": _extreme("max", _maximum, _amax),
    "min": _extreme("min", _minimum, _amin),
    **{
        f"{kind}{rank}d{ending}": _pooled(getattr(F, f"{kind}{rank}d_with_indices"), rank, bool(ending))
        for kind in ("max_pool", "adaptive_max_pool")
        for rank in (1, 2, 3)
        for ending in ("", "_with_indices")
    },
}
