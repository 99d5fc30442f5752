"""Rules of what moves numbers without changing them: views, joining, padding, indexing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from striate.geometry.graph import Counts
from striate.geometry.indices import Indices
from striate.geometry.reading import Axis, Read, Readings, Reshape, Shape, broadcast, only, whole
from striate.geometry.rules.base import PHASES, Call, Facts, all_of, anything, rule, same
from striate.geometry.window import IDENTITY, Window


@rule("view _unsafe_view reshape squeeze unsqueeze _reshape_alias flatten unflatten _reshape_copy view_copy")
def reshape(call: Call) -> Facts:
    """The same numbers under another shape."""
    x = call["self"]
    name = call.name.removeprefix("aten::").removeprefix("_unsafe_").strip("_")
    return Facts(name, "shape", ((Reshape(call.source(x), call.before(x), call.shape),),))


@rule("permute transpose t")
def permute(call: Call) -> Facts:
    """Axes in another order."""
    x = call["self"]
    order = list(range(x.dim()))
    if call.name == "aten::permute":
        order = [d % x.dim() for d in call["dims"]]
    elif x.dim() > 1:
        a, b = call.get("dim0", 0), call.get("dim1", 1)
        order[a], order[b] = order[b], order[a]
    axes = [Axis(order.index(axis), IDENTITY) for axis in range(x.dim())]
    return Facts("permute", "shape", (view_of(call, x, axes),))


@rule("view_as_real view_as_complex")
def complex_view(call: Call) -> Facts:
    """Complex numbers as pairs of real ones along a new last axis, and back."""
    x = call["self"]
    axes = [Axis(axis, IDENTITY) for axis in range(x.dim())]
    if call.name == "aten::view_as_complex":
        axes[-1] = whole(2)
    return Facts(call.name.removeprefix("aten::"), "shape", (view_of(call, x, axes),))


def view_of(call: Call, tensor: torch.Tensor, axes: Sequence[Axis], **limits: Any) -> Readings:
    """A reading that is noted even where the tensor does not depend on the input: it may be written through later."""
    return (Read(call.source(tensor), tuple(axes), **limits),)


@rule("expand broadcast_to expand_as")
def expand(call: Call) -> Facts:
    """Axes of size 1 repeated."""
    x = call["self"]
    return Facts("expand", "shape", ((broadcast(call.source(x), tuple(x.shape), call.shape),),))


@rule("slice narrow")
def slicing(call: Call) -> Facts:
    """Every step-th index from start on."""
    x = call["self"]
    dim, size = call["dim"] % x.dim(), x.shape[call["dim"]]
    start = call["start"] or 0
    start = max(0, min(size, start + size if start < 0 else start))
    step = call.get("step") or 1
    axes = [Axis(a, Window(step, start) if a == dim else IDENTITY) for a in range(x.dim())]
    return Facts("slice", "shape", (view_of(call, x, axes),))


@rule("select unbind")
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


@rule("split split_with_sizes chunk unsafe_split unsafe_chunk unsafe_split_with_sizes tensor_split")
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


@rule("unfold")
def unfold(call: Call) -> Facts:
    """Overlapping windows along an axis, their taps along a new last axis."""
    x = call["self"]
    dim = call["dimension"] % x.dim()
    axes = [Axis(a, IDENTITY) for a in range(x.dim())]
    axes[dim] = Axis(dim, Window(call["step"], 0, call["size"] - 1))
    return Facts("unfold", "shape", (view_of(call, x, axes, loose=(x.dim(),)),))


@rule("as_strided")
def strided(call: Call) -> Facts:
    """A walk through memory: that of overlapping windows (stft) by axes, any other may read anything.

    Of the output axes that walk along one axis of the input, that with the longest step moves its window; the others
    are its taps.
    """
    x, size, step = call["self"], call["size"], call["stride"]
    rest = (call["storage_offset"] or 0) - x.storage_offset()
    axes: list[Axis] = []
    taps: list[int] = []
    left = sorted((axis for axis in range(len(size)) if size[axis] > 1), key=lambda axis: -step[axis])
    fits = x.is_contiguous() and rest >= 0
    for number, length in enumerate(x.shape):
        stride = math.prod(x.shape[number + 1 :])
        along = [axis for axis in left if step[axis] >= stride and length > 1]
        left = left[len(along) :]
        start, rest = divmod(rest, stride)
        reach = [(size[axis] - 1) * step[axis] // stride for axis in along]
        fits &= start + sum(reach) < length and not any(step[axis] % stride for axis in along)
        ahead = step[along[0]] // stride if along else 0
        axes.append(Axis(along[0], Window(ahead, start, start + sum(reach[1:]))) if along else only(start))
        taps += along[1:]
    readings = view_of(call, x, axes, loose=tuple(taps)) if fits and not left else anything(call, x)
    return Facts("as_strided", "shape", (readings,))


@rule("diagonal")
def diagonal(call: Call) -> Facts:
    """A diagonal of two axes along a new last one: regions of it are held by the product of both."""
    x = call["self"]
    first, second = call["dim1"] % x.dim(), call["dim2"] % x.dim()
    offset = call["offset"]
    axes = [Axis(a - (a > first) - (a > second), IDENTITY) for a in range(x.dim())]
    axes[first] = Axis(x.dim() - 2, Window(1, max(0, -offset)))
    axes[second] = Axis(x.dim() - 2, Window(1, max(0, offset)))
    return Facts("diagonal", "shape", (view_of(call, x, axes),))


@rule("cat concat")
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


@rule("stack")
def stack(call: Call) -> Facts:
    """One after the other along a new axis."""
    readings: Readings = ()
    for index, tensor in enumerate(call["tensors"]):
        dim = call["dim"] % (tensor.dim() + 1)
        axes = [Axis(a + (a >= dim), IDENTITY) for a in range(tensor.dim())]
        readings += call.read(tensor, axes, outputs=((dim, index, index),))
    return Facts("stack", "shape", (readings,))


@rule("constant_pad_nd")
def pad(call: Call) -> Facts:
    """A border of constants (or, with negative numbers, cropping)."""
    x = call["self"]
    changed = {}
    for pair in range(len(call["pad"]) // 2):
        axis = x.dim() - 1 - pair
        changed[axis] = Axis(axis, Window(1, -call["pad"][2 * pair]))
    return Facts("pad", "shape", (same(call, x, changed),))


@rule("reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d")
def border_pad(call: Call) -> Facts:
    """A border that mirrors or repeats the edge: a reading for the interior and one for each border."""
    x = call["self"]
    edge = "replication" in call.name
    choices: list[list[tuple[int, Axis, tuple[int, int] | None]]] = []
    for pair in range(len(call["padding"]) // 2):
        axis = x.dim() - 1 - pair
        before, after = call["padding"][2 * pair : 2 * pair + 2]
        size = x.shape[axis]
        left, right = (
            (Window(0, 0), Window(0, size - 1)) if edge else (Window(-1, before), Window(-1, 2 * size - 2 + before))
        )
        pieces: list[tuple[int, Axis, tuple[int, int] | None]] = [(axis, Axis(axis, Window(1, -before)), None)]
        if before > 0:
            pieces.append((axis, Axis(axis, left), (0, before - 1)))
        if after > 0:
            pieces.append((axis, Axis(axis, right), (before + size, before + size + after - 1)))
        choices.append(pieces)
    return Facts("pad", "shape", (_pieces(call, x, choices),))


@rule("roll")
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
        choices.append(pieces if size - by >= by else pieces[::-1])
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


@rule("flip")
def flip(call: Call) -> Facts:
    """Axes turned round."""
    x = call["self"]
    dims = {d % x.dim() for d in call["dims"]}
    return Facts("flip", "shape", (same(call, x, {d: Axis(d, Window(-1, x.shape[d] - 1)) for d in dims}),))


@rule("repeat")
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


@rule("embedding")
def embedding(call: Call) -> Facts:
    """A row of the table for each index."""
    indices = call["indices"]
    return Facts("embedding", "other", (same(call, indices, {}),))


@rule("index index_select _unsafe_index")
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
    axes: list[Axis] = []
    loose: tuple[int, ...] = ()
    for axis, size in enumerate(x.shape):
        if axis not in picked:
            start = picked[0] if together else 0
            driver = axis if together and axis < start else axis - sum(p < axis for p in picked) + spread
            axes.append(Axis(driver, IDENTITY))
        elif (
            len(picked) == 1
            and index.dim() == 1
            and not index.is_meta
            and index.dtype not in (torch.bool, torch.uint8)
            and len(index) <= PHASES
        ):
            taps = [Indices(int(i) % size, 1) for i in index.tolist()]
            axes.append(Axis(axis, Window.of(size, taps)))
        else:
            axes.append(whole(size))
            loose = (-1,)
    return Facts("index", "shape", (call.read(x, axes, loose=loose) + readings,))


@rule("index_fill")
def index_fill(call: Call) -> Facts:
    """Some indices of an axis overwritten by one number."""
    x, dim, index = call["self"], call["dim"] % call["self"].dim(), call["index"]
    every = range(x.shape[dim])
    filled = {i % x.shape[dim] for i in index.tolist()} if not index.is_meta else set[int]()
    readings: Readings = ()
    for first, count in Indices.of(i for i in every if i not in filled).runs():
        readings += same(call, x, {}, outputs=((dim, first, first + count - 1),))
    return Facts("index_fill", "shape", (readings,))


@rule("resize_as resize")
def resize(call: Call) -> Facts:
    """Memory under another shape and size."""
    return Facts("resize", "shape", (anything(call, call["self"]),))


@rule("gather")
def gather(call: Call) -> Facts:
    """Along one axis, from where an index of the same form says."""
    x, index = call["self"], call["index"]
    readings = same(call, x, {call["dim"] % x.dim(): whole(x.shape[call["dim"]])}, loose=(-1,))
    return Facts("gather", "other", (readings + same(call, index, {}),), Counts(elementwise=call.numel))


@rule(
    "scatter scatter_add index_put masked_scatter index_add index_copy unique_consecutive "
    "cdist _cdist_forward take linalg_inv_ex histc bucketize"
)
def anywhere(call: Call) -> Facts:
    """Operations that may read anything."""
    return Facts(
        call.name.removeprefix("aten::").removeprefix("_"), "other", all_of(call), Counts(elementwise=call.numel)
    )


def written_through(
    through: Readings, base: int, shape: Shape, view: int, view_shape: Shape
) -> tuple[Readings, Readings]:
    """After a write through a view: how the memory reads what it held, and how it reads what was written."""
    [reading] = through
    if isinstance(reading, Reshape):
        return (), (Reshape(view, reading.after, reading.before),)
    identity = tuple(Axis(axis, IDENTITY) for axis in range(len(reading.axes)))
    drivers = [driver for driver, _ in reading.axes if driver is not None]
    if reading.loose or len(set(drivers)) < len(drivers):  # anything may be written, and anything may stay
        return (Read(base, identity),), (Read(view, tuple(whole(size) for size in view_shape), loose=(-1,)),)
    axes: list[Axis] = [whole(size) for size in view_shape]
    outputs: list[tuple[int, int, int]] = []
    kept: list[tuple[int, int, int]] = []
    for axis, (driver, window) in enumerate(reading.axes):
        if driver is None:  # one index was selected, or the two parts of a complex number were put together
            first, last = window.taps[0].first, window.taps[0].last
            outputs.append((axis, first, last))
            kept += [(axis, 0, first - 1), (axis, last + 1, shape[axis] - 1)]
            continue
        axes[driver] = Axis(axis, window.reverse)
        first, last = window.at(0).first, window.at(view_shape[driver] - 1).last
        if window.stride == 1:
            outputs += [(axis, first, last)] if (first, last) != (0, shape[axis] - 1) else []
            kept += [(axis, 0, first - 1), (axis, last + 1, shape[axis] - 1)]
        else:
            kept += [(axis, i, i) for i in range(shape[axis]) if not window.preimage(Indices(i, 1), view_shape[driver])]
    stays = tuple(Read(base, identity, (limit,)) for limit in kept if limit[2] >= limit[1])
    return stays, (Read(view, tuple(axes), tuple(outputs)),)
