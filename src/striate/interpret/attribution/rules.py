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

from striate.interpret.attribution.composed import COMPOSED, RECTIFIERS, UNARY, varies
from striate.interpret.attribution.halves import Halves, Unary, slope_of
from striate.shapes import Tensor

# torch takes NumPy's names of arguments as well.
SPELLINGS = {"axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other"}
COMPARISONS = {"gt": True, "ge": True, "lt": False, "le": False}
CASTS = frozenset(("to", "type", "type_as", "float", "double", "half", "bfloat16"))
FOLDS = frozenset(("reshape", "reshape_as", "view", "view_as", "flatten", "unflatten", "ravel"))  # axis 0 stays first


class _Call(NamedTuple):
    """A call of a function that writes nothing, whatever the original did; its first argument has no keyword."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    in_place: bool

    @property
    def given(self) -> tuple[Any, ...]:
        return (*self.args, *self.kwargs.values())

    @property
    def activation(self) -> Unary:
        """The function of its first argument alone."""
        return lambda x: self.function(x, *self.args[1:], **self.kwargs)


class _Sign(NamedTuple):
    """A mask that says where `of`, in its `version`, is positive, or where it is not."""

    mask: Tensor
    of: Tensor
    version: int
    positive: bool


class Rule(TorchFunctionMode):
    """While it lasts, functions that have a rule compute as ever and hand gradients back by the rule.

    `met`: how many calls had one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met = 0
        self._signs: dict[int, _Sign] = {}

    @abstractmethod
    def apply(self, call: _Call) -> Any:
        """The result by the rule; NotImplemented where there is none for this call."""

    def see(self, call: _Call, result: Any) -> None:
        """Take note of a call without a rule: of comparisons with zero, and of their casts."""
        first, *others = call.given
        if call.name in COMPARISONS and varies(first) and _zero(others[0]):
            self._signs[id(result)] = _Sign(result, first, first._version, COMPARISONS[call.name])
        elif call.name in CASTS and id(first) in self._signs:
            self._signs[id(result)] = self._signs[id(first)]._replace(mask=result)

    def cut(self, call: _Call) -> Tensor | None:
        """What a call cuts off at zero without the name of a rectifier; None for other calls.

        Maxima with zeros, and masks that were found by comparing the same tensor with zero: maximum(h, zeros),
        where(h > 0, h, 0), h * (h > 0), h.masked_fill(h < 0, 0), h[h < 0] = 0.
        """
        if call.name in ("maximum", "max", "fmax") and len(call.given) == 2:
            kept, least = call.given if varies(call.given[0]) else call.given[::-1]
            return kept + least if isinstance(least, torch.Tensor) and _zero(least) else None
        mask, *choice = _chosen(call)
        sign = self._signs.get(id(mask))
        if sign is None:
            return None
        kept, rest = choice if sign.positive else choice[::-1]
        # Written into since, it may have other signs.
        return kept + rest if kept is sign.of and kept._version == sign.version and _zero(rest) else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = (*args, *kwargs.values())
        if not (torch.is_grad_enabled() and any(varies(x) or id(x) in self._signs for x in given)):
            return func(*args, **kwargs)
        call = _called(func, args, kwargs)
        result = self.apply(call)
        if result is NotImplemented:
            result = func(*args, **kwargs)
            self.see(call, result)
            return result
        self.met += 1
        return call.args[0].copy_(result) if call.in_place else result


class Rectified(Rule):
    """Gradients rectified at each rectifier: max(0, gradient), `guided` also where the activation's input is negative.

    Guided backpropagation (Springenberg et al. 2015, "Striving for simplicity", fig. 1) multiplies the activation's
    derivative with the positive part of the gradient; the deconvolutional network (Zeiler & Fergus 2014, sec. 2.1)
    takes the positive part alone. Convolutions hand back by their transposed filters, maximum pooling by its
    switches: that is what their derivatives do.

    A rectifier is known by its name, as a clamp at zero, or as `Rule.cut` has it. One that is written in yet another
    way (by a mask that was computed from something else, as (|h| + h) / 2) keeps its derivative.
    """

    def __init__(self, guided: bool) -> None:
        super().__init__()
        self.guided = guided

    def apply(self, call: _Call) -> Any:
        """See `Rule.apply`."""
        x, activation = call.given[0], call.activation
        if call.name not in RECTIFIERS and not _clamps(call):
            x, activation = self.cut(call), torch.relu
        return NotImplemented if x is None else _Rectify.apply(x, activation, self.guided)  # type: ignore[no-untyped-call]


class Rescaled(Rule):
    """DeepLIFT's rescale rule, for batches of `rows`, whose second half holds the references of the first half.

    What a function of one variable hands back is its slope between reference and input, Δoutput / Δinput (Shrikumar
    et al. 2017, "Learning important features through propagating activation differences", sec. 3.5.1). Products hand
    each factor the other's mean of both, maxima give their difference to the places of both, so that differences of
    inputs times multipliers sum to the difference of the output; softmax and normalizations are made of these.

    Raises InputError where a function with a rule meets an axis 0 that is not that of the items.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.halves = Halves(rows)

    def apply(self, call: _Call) -> Any:
        """See `Rule.apply`."""
        self.halves.function = call.name
        if (cut := self.cut(call)) is not None:
            return self.halves.rescaled(cut, torch.relu)
        first, *others = call.given
        if call.name in UNARY and varies(first) and not any(map(varies, others)):
            return self.halves.rescaled(first, call.activation)
        rule = COMPOSED.get(call.name)
        return rule(self.halves, *call.args, **call.kwargs) if rule else NotImplemented

    def see(self, call: _Call, result: Any) -> None:
        """Take note also of views that have something else on axis 0 than the items."""
        super().see(call, result)
        x: Any = call.args[0] if call.args else None
        if call.name in FOLDS or not varies(x) or not x.dim() or len(x) != self.halves.rows:
            return
        view = x[0] if call.name == "iter" else result[0] if isinstance(result, list | tuple) else result
        if isinstance(view, torch.Tensor) and view.dim() and view._base is (x if x._base is None else x._base):
            kept = len(view) == len(x) and view.stride(0) == x.stride(0)
            self.halves.moved.update(() if kept else (len(view),))


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
        return positive * slope_of(ctx.activation, ctx.saved_tensors[0]) if ctx.guided else positive, None, None


@functools.cache
def _signature(func: Any) -> inspect.Signature | None:
    """Of torch's functions that are written in Python."""
    return inspect.signature(func, follow_wrapped=False) if isinstance(func, FunctionType) else None


def _called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
    """A call as one that writes nothing: relu of relu_, of x.relu_() and of F.relu(x, inplace=True)."""
    name = getattr(func, "__name__", "")
    plain = name.strip("_")
    if (plain in UNARY or plain in COMPOSED) and (signature := _signature(func)):
        bound = signature.bind(*args, **kwargs)
        in_place = bool(bound.arguments.pop("inplace", False))
        return _Call(plain, func, bound.args, bound.kwargs, in_place)
    kwargs = {SPELLINGS.get(key, key): value for key, value in kwargs.items()}
    args = (kwargs.pop("input"), *args) if "input" in kwargs else args
    in_place = name.endswith("_") != name.endswith("__") or name == "__setitem__"
    in_place = in_place or (name.startswith("__i") and plain[1:] in COMPOSED)
    if in_place:
        func = getattr(torch.Tensor, plain, None) or getattr(F, plain, func)
    return _Call(plain, func, args, kwargs, in_place)


def _chosen(call: _Call) -> tuple[Any, Any, Any]:
    """What a call chooses by a mask: the mask, what it takes where that is true, and where it is not."""
    named = [call.kwargs[key] for key in ("condition", "mask", "value", "other") if key in call.kwargs]
    match call.name, *call.args, *named:
        case (("mul" | "multiply" | "imul" | "rmul"), a, b):
            return (a, b, 0) if varies(b) else (b, a, 0)
        case "where", torch.Tensor(dtype=torch.bool) as mask, yes, no:
            return mask, yes, no
        case "where", yes, mask, no:  # a method of yes
            return mask, yes, no
        case (("masked_fill" | "setitem"), no, mask, yes):
            return mask, yes, no
    return None, None, None


def _clamps(call: _Call) -> bool:
    """Whether it cuts at zero and above, as ReLU6 does."""
    if call.name not in ("clamp", "clamp_min", "clip", "hardtanh"):
        return False
    named = [call.kwargs[key] for key in ("min", "min_val") if key in call.kwargs]
    least = (*named, *call.args[1:], None)[0]
    return least is not None and _zero(least)


def _zero(thing: Any) -> bool:
    number = isinstance(thing, int | float | torch.Tensor) and not varies(thing)
    return number and not bool(torch.as_tensor(thing).any())
