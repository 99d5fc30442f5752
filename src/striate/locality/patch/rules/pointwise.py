"""What maps each position alone: arithmetic and activations, and what works along axes without windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from striate.locality.patch.local import Base, Local, back, dense, flat, others
from striate.locality.patch.place import Place, paste
from striate.locality.patch.rules.base import Call, rule

# Activations that can be written over their input.
OVERWRITING = {"relu", "leaky_relu", "elu", "silu", "gelu", "sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid"}


def aligned(call: Call) -> list[Local]:
    """The Locals among the arguments where all have windows along the same axes, and may be broadcast along others.

    None where they do not, or where a tensor that is no Local has numbers of its own for each change.
    """
    every = flat((call.args, call.kwargs))
    locals_ = [a for a in every if isinstance(a, Local)]
    first = locals_[0]
    own = (isinstance(a, torch.Tensor) and a.dim() >= first.dim() and a.shape[0] > 1 for a in every)
    if any(a.axes != first.axes or a.dim() != first.dim() or a.space != first.space for a in locals_):
        return []
    if any(a.flattened is not None for a in locals_):
        return []
    if any(mine and not isinstance(a, Local) for mine, a in zip(own, every, strict=True)):
        return []
    return locals_


# These map position by position, too; torch does not mark them.
@rule("pointwise hardswish hardsigmoid hardtanh prelu _prelu_kernel mish softplus _to_copy")
def pointwise(call: Call) -> Any:
    """Any function of values at the same position: of all values in the windows."""
    locals_ = aligned(call)
    if not locals_:
        return NotImplemented
    first, base = locals_[0], call.bases()
    if len(base) != 1 or base[0].space(first.axes) != first.space:
        return NotImplemented
    place = union(locals_)
    if call.name in OVERWRITING and not call.kwargs and (first.full is None or call.mine(first)):
        values = first.values_at(place)
        getattr(torch.ops.aten, call.name + "_")(values, *call.args[1:])
        return call.note("values", call.give(place, full=values))
    made = call.func(*(_there(call, i, a, first, place) for i, a in enumerate(call.args)), **call.kwargs)
    return call.note("values", call.give(place, full=held(made, first.axes)))


@rule("add sub neg mul div")
def arithmetic(call: Call) -> Any:
    """Sums of windows, and of windows with constants; products and quotients with constants: differences will do."""
    locals_ = aligned(call)
    if not locals_:
        return NotImplemented
    first = locals_[0]
    product = call.name in ("mul", "div")
    if any(a.shape != first.shape for a in locals_):
        return pointwise(call)
    if (product and (len(locals_) > 1 or first is not call.args[0])) or call.kwargs.get("rounding_mode"):
        return pointwise(call)
    base = call.bases()[0]
    if base.value.shape[1:] != first.shape[1:]:
        return NotImplemented
    place = union(locals_)
    same = all(a.full is not None and place.same(a.place) for a in locals_ if a.place is not None)
    if same or call.run.hot:
        return pointwise(call)
    if call.name == "add" and len(locals_) == 2 and not call.kwargs:
        summed = _added(call, locals_, place)
        if summed is not None:
            return summed
    if first is not call.args[0]:
        return pointwise(call)
    if len(locals_) == 1 and call.name in ("add", "sub"):  # a summand that stays the same
        return call.note("difference", call.give(place, delta=first.differences_at(place), owned=False))
    given = [
        arg.logical(arg.differences_at(place)) if isinstance(arg, Local) else _there(call, index, arg, first, place)
        for index, arg in enumerate(call.args)
    ]
    made = getattr(torch, call.name)(*given, **call.kwargs)
    return call.note("difference", call.give(place, delta=held(made, first.axes)))


def _added(call: Call, locals_: Sequence[Local], place: Place) -> Local | None:
    """The sum written over the differences that only this sum reads, where they lie in the windows of both."""
    for onto, other in (locals_, locals_[::-1]):
        assert onto.place is not None
        assert other.place is not None
        if onto.delta is not None and onto.full is None and call.mine(onto) and place.same(onto.place):
            delta = paste(other.differences_at(other.place), other.place, onto.delta, place, adding=True)
            return call.note("difference", call.give(place, delta=delta))
    return None


def union(locals_: Sequence[Local]) -> Place:
    """Windows that hold all of theirs."""
    place = locals_[0].place
    assert place is not None
    for other in locals_[1:]:
        assert other.place is not None
        place = place.union(other.place, other.space)
    return place


def held(made: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """A result with its axes where the tensor has them, as (n, *window, *other axes)."""
    return made.permute(0, *axes, *others(made.dim(), axes)).contiguous()


def _there(call: Call, index: int, arg: Any, first: Local, place: Place) -> Any:
    """An argument in the windows: a constant that differs from place to place is cut out for each."""
    if isinstance(arg, Local):
        return arg.logical(arg.values_at(place))
    if not isinstance(arg, torch.Tensor) or arg.dim() == 0:
        return arg
    ahead = first.dim() - arg.dim()
    if ahead < 0 or all(axis < ahead or arg.shape[axis - ahead] == 1 for axis in first.axes):
        return arg
    shape = [1, *(arg.shape[axis - ahead] if axis >= ahead else 1 for axis in range(1, first.dim()))]
    for axis in first.axes:
        shape[axis] = first.shape[axis]
    base = call.keep(("constant", index), lambda: Base(arg.expand(shape)))
    return base.at(first.axes, place).permute(back(first.dim(), first.axes))


@rule("embedding")
def embedding(call: Call) -> Any:
    """A row of a table for each index: one more axis, the last."""
    tokens = call["indices"]
    if not isinstance(tokens, Local) or isinstance(call["weight"], Local):
        return NotImplemented
    assert tokens.place is not None
    made = call["weight"][tokens.logical(tokens.values_at(tokens.place))]
    base = call.bases()[0]
    return call.note("values", call.give(tokens.place, full=held(made, tokens.axes), axes=tokens.axes, base=base))


@rule("clone alias detach contiguous lift_fresh dropout native_dropout")
def same(call: Call) -> Any:
    """The same values."""
    x = call.x
    if call.name.endswith("dropout") and call["train"]:
        return NotImplemented
    made = Local(x.shape, x, call.run)
    made.become(x)
    made.owned = call.mine(x)
    return made


@rule("_softmax _log_softmax softmax log_softmax glu cumsum sum mean amax amin var")
def reduction(call: Call) -> Any:
    """Along axes without windows: position by position. The mean or sum over all windows: base plus what changed."""
    x = call.x
    dims = call.dims(x)
    if 0 in dims or x.flattened is not None:
        return NotImplemented
    if set(dims) & set(x.axes):
        return _over_all(call, dims)
    base = call.bases()[0]
    keeps = call.name in ("_softmax", "_log_softmax", "softmax", "log_softmax", "glu", "cumsum") or call["keepdim"]
    axes = tuple(axis - (0 if keeps else sum(dim < axis for dim in dims)) for axis in x.axes)
    assert x.place is not None
    made = call.func(x.logical(x.values_at(x.place)), *call.args[1:], **call.kwargs)
    return call.note("values", call.give(x.place, full=held(made, axes), axes=axes, base=base))


def _over_all(call: Call, dims: Sequence[int]) -> Any:
    """Mean and sum over all axes of the windows: a running sum."""
    x = call.x
    if call.name == "amax" and tuple(dims) == x.axes and len(dims) == 1:
        return _greatest_of_all(call, dims[0])
    if (
        call.run.hot
        or call.name not in ("mean", "sum")
        or not set(x.axes) <= set(dims)
        or not x.dtype.is_floating_point
    ):
        return NotImplemented
    assert x.place is not None
    base = call.bases()[0]
    total = x.logical(x.differences_at(x.place)).sum(list(dims), keepdim=call["keepdim"])
    if call.name == "mean":
        total = total / math.prod(x.shape[dim] for dim in dims)
    return call.note("running sum", dense(call.run, total + base.value))


def _greatest_of_all(call: Call, dim: int) -> Any:
    """The maximum along the one axis of the windows: of theirs, and those of the base before and after them."""
    x, base = call.x, call.bases()[0]
    assert x.place is not None
    size, window = x.shape[dim], x.place.sizes[0]

    def around() -> tuple[torch.Tensor, torch.Tensor]:
        """What is greatest up to each position, and from it on; one more at the end of each: nothing."""
        rows = x.base.table(x.axes, -math.inf)[:size]
        lowest = torch.full_like(rows[:1], -math.inf)
        return torch.cat([lowest, rows.cummax(0)[0]]), torch.cat([rows.flip(0).cummax(0)[0].flip(0), lowest])

    kept = call.run.memory.bases
    if (call.number, "around") not in kept:
        kept[call.number, "around"] = [Base(part) for part in around()]
    before, after = (part.value for part in kept[call.number, "around"])
    starts = torch.from_numpy(x.place.starts[:, 0]).to(x.device)
    made = x.values_at(x.place).amax(1)
    made = torch.maximum(made, torch.maximum(before[starts], after[starts + window]))
    shape = (len(made), *base.value.shape[1:])
    return call.note("running maximum", dense(call.run, made.reshape(shape)))
