"""How attributions flow back through a network: rules in place of the derivatives of its nonlinear operations.

A rule acts on torch's functions while a forward runs, so that it meets activations as modules, as functions, shared,
and in place, and needs nothing of the sums, concatenations and convolutions between them, whose derivatives it keeps.
"""

from __future__ import annotations

import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from striate.shapes import Tensor

Unary = Callable[[Tensor], Tensor]

NEAR = 16  # roundings of a value: a difference below that has the derivative for its slope
# Activations that let little or nothing of negative values through.
# fmt: off
RECTIFIERS = frozenset((
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish",
    "softplus", "threshold",
))
# fmt: on


class _Call(NamedTuple):
    """A call of a function that writes nothing, whatever the original did."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    in_place: bool

    @property
    def activation(self) -> Unary:
        """The function of its first argument alone."""
        return lambda x: self.function(x, *self.args[1:], **self.kwargs)


class Rule(TorchFunctionMode):
    """While it lasts, functions that have a rule compute as ever and hand gradients back by the rule.

    `met`: how many calls had one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    @abstractmethod
    def apply(self, call: _Call) -> Any:
        """The result by the rule; NotImplemented where there is none for this call."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (torch.is_grad_enabled() and args and any(map(_varies, args))):
            return func(*args, **kwargs)
        call = _called(func, args, kwargs)
        result = self.apply(call)
        if result is NotImplemented:
            return func(*args, **kwargs)
        self.met += 1
        return args[0].copy_(result) if call.in_place else result


class Rectified(Rule):
    """Gradients rectified at each rectifier: max(0, gradient), `guided` also where the activation's input is negative.

    Guided backpropagation (Springenberg et al. 2015, "Striving for simplicity", fig. 1) multiplies the activation's
    derivative with the positive part of the gradient; the deconvolutional network (Zeiler & Fergus 2014, sec. 2.1)
    takes the positive part alone. Convolutions hand back by their transposed filters, maximum pooling by its
    switches: that is what their derivatives do.
    """

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def apply(self, call: _Call) -> Any:
        """See `Rule.apply`."""
        if call.name not in RECTIFIERS and not _rectifies(call):
            return NotImplemented
        return _Rectify.apply(call.args[0], call.activation, self.guided)  # type: ignore[no-untyped-call]


class Rescaled(Rule):
    """DeepLIFT's rescale rule, for batches whose second half holds the references of the first half.

    What a function of one variable hands back is its slope between reference and input, Δoutput / Δinput (Shrikumar
    et al. 2017, "Learning important features through propagating activation differences", sec. 3.5.1). Products hand
    each factor the other's mean of both, maxima give their difference to the places of both, so that differences of
    inputs times multipliers sum to the difference of the output; softmax and normalizations are made of these.
    """

    def apply(self, call: _Call) -> Any:
        """See `Rule.apply`."""
        first, *others = (*call.args, *call.kwargs.values())
        if call.name in UNARY and _varies(first) and not any(map(_varies, others)):
            return rescaled(first, call.activation)
        return COMPOSED[call.name](*call.args, **call.kwargs) if call.name in COMPOSED else NotImplemented


def rescaled(x: Tensor, function: Unary) -> Tensor:
    """function(x), which hands back its slope between the halves of the batch."""
    made: Tensor = _Rescale.apply(x, function)  # type: ignore[no-untyped-call]
    return made


def times(a: Any, b: Any, product: Callable[[Any, Any], Tensor] = torch.mul) -> Tensor:
    """a b = mean(a, a0) Δb + mean(b, b0) Δa + a0 b0: each factor is handed the other's mean of both halves."""
    if not (_varies(a) and _varies(b)):
        return product(a, b)
    made: Tensor = _Product.apply(a, b, product)  # type: ignore[no-untyped-call]
    return made


def largest(x: Tensor, place: Tensor) -> Tensor:
    """Values of x (2n, ..., l) at places (2n, ..., k) of maxima, which hand back to the places of both halves."""
    made: Tensor = _Maximum.apply(x, place)  # type: ignore[no-untyped-call]
    return made


def _maximum(a: Tensor, b: Tensor) -> Any:
    both = torch.stack([a + torch.zeros_like(b), b + torch.zeros_like(a)], -1)
    return largest(both, both.argmax(-1, keepdim=True)).squeeze(-1)


def _minimum(a: Tensor, b: Tensor) -> Any:
    return -_maximum(-a, -b)


def _mul(a: Any, b: Any) -> Any:
    return times(a, b)


def _matmul(a: Tensor, b: Tensor) -> Any:
    return times(a, b, torch.matmul)


def _div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    return NotImplemented if not _varies(b) or rounding_mode else times(a, rescaled(b, torch.reciprocal))


def _divided_by(b: Tensor, a: Any) -> Any:
    return _div(a, b)


def _softmax(x: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Any:
    if dim is None or dim % x.dim() == 0:
        return NotImplemented
    x = x if dtype is None else x.to(dtype)
    # The same for both halves, so that it is no variable.
    greatest = torch.maximum(*x.detach().amax(dim, keepdim=True).chunk(2)).repeat(2, *[1] * (x.dim() - 1))
    power = rescaled(x - greatest, torch.exp)
    return times(power, rescaled(power.sum(dim, keepdim=True), torch.reciprocal))


def _standardized(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centered = x - x.mean(axes, keepdim=True)
    variance = rescaled(centered, torch.square).mean(axes, keepdim=True)
    return times(centered, rescaled(variance + eps, torch.rsqrt))


def _layer_norm(x: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    made = _standardized(x, tuple(range(x.dim() - len(normalized_shape), x.dim())), eps)
    made = made if weight is None else made * weight
    return made if bias is None else made + bias


def _group_norm(x: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Tensor:
    grouped = x.reshape(len(x), num_groups, -1, *x.shape[2:])
    made = _standardized(grouped, tuple(range(2, grouped.dim())), eps).flatten(1, 2)
    each = (-1, *[1] * (x.dim() - 2))
    made = made if weight is None else made * weight.reshape(each)
    return made if bias is None else made + bias.reshape(each)


def _instance_norm(
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
    return _group_norm(x, x.shape[1], weight, bias, eps) if measured else NotImplemented


def _local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    squares = F.pad(rescaled(x, torch.square).movedim(1, -1), (size // 2, (size - 1) // 2))
    mean = squares.unfold(-1, size, 1).mean(-1).movedim(-1, 1)
    return times(x, rescaled(k + alpha * mean, lambda norm: norm.pow(-beta)))


def _amax(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    axes = [axis % x.dim() for axis in ((dim,) if isinstance(dim, int) else dim or ())]
    if not axes or 0 in axes:
        return NotImplemented
    kept = [axis for axis in range(x.dim()) if axis not in axes]
    flat = x.permute(*kept, *axes).flatten(len(kept))
    made = largest(flat, flat.argmax(-1, keepdim=True)).squeeze(-1)
    return made.reshape([1 if axis in axes else side for axis, side in enumerate(x.shape)]) if keepdim else made


def _max(x: Tensor, dim: Any = None, keepdim: bool = False) -> Any:
    if not isinstance(dim, int) or dim % x.dim() == 0:
        return NotImplemented
    return torch.return_types.max((_amax(x, dim, keepdim), x.max(dim, keepdim).indices))


def _pooled(pool: Callable[..., Any], rank: int, with_indices: bool) -> Callable[..., Any]:
    """A maximum pooling by the rule for maxima."""

    def pooled(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("return_indices", None)
        values, at = pool(x, *args, **kwargs, return_indices=True)
        made = largest(x.flatten(-rank), at.flatten(-rank)).reshape(values.shape)
        return (made, at) if with_indices else made

    return pooled


# Functions of one variable, position by position.
# fmt: off
UNARY = RECTIFIERS | frozenset((
    "sigmoid", "tanh", "logsigmoid", "softsign", "hardtanh", "hardsigmoid", "tanhshrink", "softshrink",
    "hardshrink", "clamp", "clamp_min", "clamp_max", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt",
    "rsqrt", "reciprocal", "square", "pow", "rpow", "abs", "sin", "cos", "erf",
))
# fmt: on
COMPOSED: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("mul", "multiply", "imul", "rmul"), _mul),
    **dict.fromkeys(("matmul", "bmm"), _matmul),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "idiv", "itruediv"), _div),
    **dict.fromkeys(("rdiv", "rtruediv"), _divided_by),
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "local_response_norm": _local_response_norm,
    "maximum": _maximum,
    "minimum": _minimum,
    "amax": _amax,
    "max": _max,
    **{
        f"{kind}{rank}d{ending}": _pooled(getattr(F, f"{kind}{rank}d"), rank, bool(ending))
        for kind in ("max_pool", "adaptive_max_pool")
        for rank in (1, 2, 3)
        for ending in ("", "_with_indices")
    },
}


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Unary, guided: bool) -> Tensor:
        ctx.activation, ctx.guided = activation, guided
        if guided:
            ctx.save_for_backward(x.clone())  # an activation in place writes into it
        return activation(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        positive = gradients[0].clamp_min(0)
        return positive * _slope(ctx.activation, ctx.saved_tensors[0]) if ctx.guided else positive, None, None


class _Rescale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, function: Unary) -> Tensor:
        made = function(x)
        ctx.function = function
        ctx.save_for_backward(x.clone(), made.clone())
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, made = ctx.saved_tensors
        moved, changed = (-torch.sub(*part.chunk(2)[::-1]) for part in (x, made))
        near = moved.abs() <= NEAR * torch.finfo(x.dtype).eps * torch.add(*x.abs().chunk(2))
        slope = changed / moved.masked_fill(near, 1)
        if bool(near.any()):
            slope = torch.where(near, _slope(ctx.function, x.chunk(2)[0]), slope)
        return gradients[0] * slope.repeat(2, *[1] * (x.dim() - 1)), None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, product: Callable[[Any, Any], Tensor]) -> Tensor:
        ctx.product = product
        ctx.save_for_backward(a.clone(), b.clone())
        return product(a, b)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        means = []
        for factor in ctx.saved_tensors:
            mean = torch.stack(factor.chunk(2)).mean(0)
            means.append(mean.repeat(2, *[1] * (mean.dim() - 1)).requires_grad_())
        with torch.enable_grad():
            made = ctx.product(*means)
        return *torch.autograd.grad(made, means, gradients[0]), None


class _Maximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        made = x.gather(-1, place)
        ctx.save_for_backward(x.clone(), place, made)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, place, made = ctx.saved_tensors
        (here, there), (to, away) = made.chunk(2), place.chunk(2)
        greatest, gradient = torch.maximum(here, there), gradients[0].chunk(2)[0]
        given = torch.zeros_like(x.chunk(2)[0])
        given.scatter_add_(-1, to, (greatest - there) * gradient).scatter_add_(-1, away, (here - greatest) * gradient)
        moved = torch.sub(*x.chunk(2))
        share = torch.where(moved == 0, 0, given / moved.masked_fill(moved == 0, 1))
        return torch.cat([share, torch.zeros_like(share)]), None


def _slope(function: Unary, x: Tensor) -> Tensor:
    """The derivative of a function of one variable."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(x).sum(), x)
    return slope


@functools.cache
def _signature(func: Any) -> inspect.Signature | None:
    """Of torch's functions that are written in Python and may write into their argument."""
    found = inspect.signature(func, follow_wrapped=False) if isinstance(func, FunctionType) else None
    return found if found and "inplace" in found.parameters else None


def _called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    """A call as one that writes nothing: relu of relu_, of x.relu_() and of F.relu(x, inplace=True)."""
    name = getattr(func, "__name__", "")
    plain = name.strip("_")
    if signature := _signature(func):
        bound = signature.bind(*args, **kwargs)
        in_place = bool(bound.arguments.pop("inplace", False))
        return _Call(plain, func, bound.args, bound.kwargs, in_place)
    in_place = name.endswith("_") != name.endswith("__") or (name.startswith("__i") and plain[1:] in COMPOSED)
    if in_place:
        func = getattr(torch.Tensor, plain, None) or getattr(F, plain, func)
    return _Call(plain, func, args, kwargs, in_place)


def _rectifies(call: _Call) -> bool:
    """Whether a clamp or a maximum cuts at zero, ReLU6 as well."""
    if call.name not in ("clamp", "clamp_min", "clip", "hardtanh", "maximum"):
        return False
    named = [call.kwargs[key] for key in ("min", "min_val", "other") if key in call.kwargs]
    least = (*named, *call.args[1:], None)[0]
    return least is not None and not _varies(least) and not bool(torch.as_tensor(least).any())


def _varies(thing: Any) -> bool:
    return isinstance(thing, torch.Tensor) and thing.requires_grad
