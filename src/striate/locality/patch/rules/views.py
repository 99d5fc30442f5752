"""What moves numbers: reshapes, slices, joins, padding; windows go along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from striate.geometry.reading import Reshape
from striate.locality.patch.local import Base, Local, holding
from striate.locality.patch.place import Place, trimmed
from striate.locality.patch.rules.base import Call, rule
from striate.locality.patch.rules.convolutions import Slide, affected, read
from striate.locality.patch.rules.pointwise import held, union


def _both(call: Call, x: Local, change: Any, axes: tuple[int, ...], base: Base) -> Local:
    """The same windows of what is held, with its other axes changed: `change` acts on tensors as they appear."""
    assert x.place is not None
    made = held(change(x.logical(x.held)), axes)
    return call.alike(x, x.place, made, axes=axes, base=base, owned=False)


@rule("view _unsafe_view reshape flatten _reshape_alias squeeze unsqueeze unflatten")
def reshape(call: Call) -> Any:
    """Axes without windows may merge, split, come and go; flattening them all is noted for the layer that follows."""
    x = call.x
    if x.flattened is not None:
        return NotImplemented
    shape = tuple(call.func(torch.empty(x.shape, device="meta"), *call.args[1:], **call.kwargs).shape)
    if not shape or shape[0] != x.shape[0]:
        return NotImplemented
    base = _reshaped(call, x, shape)
    moves = Reshape(0, tuple(x.shape[1:]), shape[1:]).groups if x.numel() else []
    alone = {into[0]: out[0] for into, out in moves if len(into) == len(out) == 1}
    alone |= _ones(tuple(x.shape[1:]), shape[1:], x.axes)
    if all(axis - 1 in alone for axis in x.axes):
        axes = tuple(alone[axis - 1] + 1 for axis in x.axes)
        assert x.place is not None
        window = list(shape)
        for axis, size in zip(axes, x.place.sizes, strict=True):
            window[axis] = size
        return _both(call, x, lambda t: t.reshape(window), axes, base)
    if len(shape) == 2:
        made = Local(shape, x, call.run)
        made.become(x)
        made.base, made.flattened = base, x
        return made
    return NotImplemented


def _reshaped(call: Call, x: Local, shape: Sequence[int]) -> Base:
    kept = call.run.memory.bases
    if call.number not in kept:
        kept[call.number] = [Base(x.base.value.reshape(1, *shape[1:]))]
    return kept[call.number][0]


def _ones(before: tuple[int, ...], after: tuple[int, ...], axes: Sequence[int]) -> dict[int, int]:
    """Axes of size 1 with windows stay where nothing else changes."""
    return {axis - 1: axis - 1 for axis in axes if before[:axis] == after[:axis] and before[axis - 1] == 1}


@rule("permute transpose t")
def permute(call: Call) -> Any:
    """Axes in another order."""
    x = call.x
    order = list(range(x.dim()))
    if call.name == "permute":
        order = [dim % x.dim() for dim in call["dims"]]
    elif call.name == "transpose":
        a, b = call["dim0"] % x.dim(), call["dim1"] % x.dim()
        order[a], order[b] = order[b], order[a]
    if order[0] != 0 or x.flattened is not None or call.name == "t":
        return NotImplemented
    axes = tuple(order.index(axis) for axis in x.axes)
    return _both(call, x, lambda t: t.permute(order), axes, call.bases()[0])


@rule("slice")
def slice_(call: Call) -> Any:
    """A part: of an axis without windows as it is, of one with windows those cells that are in it."""
    x, dim, step = call.x, call["dim"] % call.x.dim(), call["step"]
    if dim == 0 or x.flattened is not None:
        return x if x.flattened is None and _everything(call, x) else NotImplemented
    size = x.shape[dim]
    first, last, _ = slice(call["start"], call["end"]).indices(size)
    base = call.bases()[0]
    if dim not in x.axes:
        return _both(call, x, lambda t: t[(*[slice(None)] * dim, slice(first, last, step))], x.axes, base)
    if last <= first:
        return NotImplemented
    if step == 1:
        return _shifted(call, x, [-first if axis == dim else 0 for axis in x.axes], base)
    assert x.place is not None
    moved = [Slide(1, step, -first, 1) if axis == dim else Slide(1, 1, 0, 1) for axis in x.axes]
    out = affected(x.place, moved, base.space(x.axes))
    there = read(out, moved)
    data = x.values_at(there) if x.full is not None else x.differences_at(there)
    every = tuple(slice(None, None, slide.stride) for slide in moved)
    return call.alike(x, out, data[(slice(None), *every)].contiguous(), base=base)


def _everything(call: Call, x: Local) -> bool:
    return slice(call["start"], call["end"], call["step"]).indices(x.shape[0]) == (0, x.shape[0], 1)


def _shifted(call: Call, x: Local, by: Sequence[int], base: Base) -> Local:
    """Windows moved onto a map whose indices are larger by this; what leaves the map is gone."""
    assert x.place is not None
    moved = x.place.moved(by)
    out = Place.clipped(moved.starts, moved.last, base.space(x.axes))
    if out.same(moved):
        return call.give(out, full=x.full, delta=x.delta if x.full is None else None, base=base, owned=False)
    return call.give(out, delta=trimmed(x.differences_at(x.place), moved, out), base=base)


@rule("select")
def select(call: Call) -> Any:
    """One index of an axis without windows."""
    x, dim = call.x, call["dim"] % call.x.dim()
    if dim == 0 or dim in x.axes or x.flattened is not None:
        return NotImplemented
    axes = tuple(axis - (axis > dim) for axis in x.axes)
    return _both(call, x, lambda t: t.select(dim, call["index"]), axes, call.bases()[0])


@rule("split split_with_sizes chunk unbind")
def split(call: Call) -> Any:
    """Parts along an axis without windows."""
    x, dim = call.x, call["dim"] % call.x.dim()
    if dim == 0 or dim in x.axes or x.flattened is not None or call.name == "unbind":
        return NotImplemented
    bases = call.bases()
    begins = np.cumsum([0, *(b.value.shape[dim] for b in bases)]).tolist()
    parts = []
    for base, begin in zip(bases, begins, strict=False):
        size = base.value.shape[dim]
        parts.append(_both(call, x, lambda t, begin=begin, size=size: t.narrow(dim, begin, size), x.axes, base))
    return parts


@rule("cat")
def cat(call: Call) -> Any:
    """Joined along an axis without windows: the windows that hold all of theirs."""
    parts = call["tensors"]
    locals_ = [p for p in parts if isinstance(p, Local)]
    first = locals_[0]
    dim = call["dim"] % first.dim()
    if len(locals_) < len(parts) or dim == 0 or dim in first.axes or any(p.flattened is not None for p in locals_):
        return NotImplemented
    if any(p.axes != first.axes or p.dim() != first.dim() for p in locals_):
        return NotImplemented
    base = call.bases([p.base.value for p in locals_], dim)[0]
    place = union(locals_)
    values = all(p.full is not None for p in locals_)
    pieces = [p.logical(p.values_at(place) if values else p.differences_at(place)) for p in locals_]
    made = held(torch.cat(pieces, dim), first.axes)
    kind = "full" if values else "delta"
    out = holding(call.run, base, first.axes, place, **{kind: made})
    call.run.note(call.number, "cat", "values" if values else "difference", out)
    return out


@rule("constant_pad_nd")
def pad(call: Call) -> Any:
    """More map around the windows."""
    x, amounts = call.x, call["pad"]
    if x.flattened is not None:
        return NotImplemented
    base = call.bases()[0]
    pairs = {x.dim() - 1 - i // 2: (amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)}
    if 0 in pairs and pairs[0] != (0, 0):
        return NotImplemented
    rest = [axis for axis in pairs if axis not in x.axes and pairs[axis] != (0, 0)]
    by = [pairs.get(axis, (0, 0))[0] for axis in x.axes]
    if not rest:
        return _shifted(call, x, by, base)
    if any(pairs.get(axis, (0, 0)) != (0, 0) for axis in x.axes):
        return NotImplemented
    assert x.place is not None
    kept = [pairs[axis] if axis in rest else (0, 0) for axis in reversed(range(x.dim()))]
    around = [n for pair in kept for n in pair]
    delta = x.logical(x.differences_at(x.place))
    return call.give(x.place, delta=held(torch.nn.functional.pad(delta, around), x.axes), base=base)
